"""An encoder learns a domain's language from its texts: masked words for BERT kinds, the next word for GPT kinds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.adapted_encoder import AdaptedEncoder

# share of tokens that are asked for; of these, shares that are left as they are and that are replaced (Devlin et al. 2019)
_MASKED, _KEPT, _RANDOM = 0.15, 0.1, 0.1
IGNORED = -100


@dataclass(frozen=True)
class LanguageSettings:
    epochs: int = 3
    lr: float = 1e-4
    head_lr: float = 1e-3
    batch_size: int = 32
    clip: float = 1.0
    weight_decay: float = 1e-2
    seed: int = 7

    def steps(self, texts: int) -> int:
        return self.epochs * -(-texts // self.batch_size)


def adapt_by_language(
    encoder: AdaptedEncoder, path: str, texts: Sequence[str], settings: LanguageSettings,
    on_metrics: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Encoder and word head learn together, in place; path: the encoder's folder, for its word head. ValueError where it can have none."""
    model, masked = _language_model(encoder, path)
    adapter = encoder.adapter.parameters()
    head = [p for name, p in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.")]
    groups = [{"params": adapter, "lr": settings.lr}, {"params": [p.requires_grad_() for p in head], "lr": settings.head_lr}]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    distinct, step = sorted(set(texts)), 0
    generator = torch.Generator().manual_seed(settings.seed)
    for _ in range(settings.epochs):
        for part in torch.split(torch.randperm(len(distinct), generator=generator), settings.batch_size):
            tokens = encoder.tokenizer(
                [distinct[number] for number in part.tolist()], padding=True, truncation=True, max_length=encoder.max_tokens,
                return_tensors="pt", return_special_tokens_mask=True,
            )  # fmt: skip
            loss = _loss(model, encoder.tokenizer, tokens, masked, generator)
            optimizer.zero_grad(set_to_none=True)
            (loss + encoder.adapter.penalty().to(loss.device)).backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_([*adapter, *head], settings.clip)
            if not (torch.isfinite(loss) and torch.isfinite(norm)):
                raise FloatingPointError(f"language loss is {loss.item()} at step {step}, expected a finite number")
            optimizer.step()
            step += 1
            encoder.adapter.after_backward(step)
            if on_metrics is not None:
                on_metrics(step, {"loss": loss.item(), "gradient_norm": norm.item()})


def masked_tokens(ids: Tensor, special: Tensor, mask_id: int, words: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Ids (B, L) with words hidden, and labels (B, L), IGNORED where nothing is asked; at least one word a batch is, where there is one."""
    chance = torch.rand(ids.shape, generator=generator).masked_fill(special.bool(), 2.0)
    asked = chance < max(_MASKED, float(chance.min()) + 1e-6)
    asked &= ~special.bool()
    how = torch.rand(ids.shape, generator=generator)
    hidden = torch.where(asked & (how >= _KEPT + _RANDOM), mask_id, ids)
    other = torch.randint(words, ids.shape, generator=generator)
    return torch.where(asked & (how < _RANDOM), other, hidden), torch.where(asked, ids, IGNORED)


def _loss(model: Any, tokenizer: Any, tokens: Any, masked: bool, generator: torch.Generator) -> Tensor:
    ids, attention = tokens["input_ids"], tokens["attention_mask"]
    labels = ids.masked_fill(attention == 0, IGNORED)
    if masked:
        ids, labels = masked_tokens(ids, tokens["special_tokens_mask"], tokenizer.mask_token_id, len(tokenizer), generator)
    device = model.device
    loss: Tensor = model(input_ids=ids.to(device), attention_mask=attention.to(device), labels=labels.to(device)).loss
    return loss


def _language_model(encoder: AdaptedEncoder, path: str) -> tuple[Any, bool]:
    """The word head of the encoder's architecture on this very encoder, and whether it fills masks (else it goes on with a text)."""
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_MASKED_LM_MAPPING,
        AutoModelForCausalLM,
        AutoModelForMaskedLM,
    )

    from models.encoder_files import encoder_folder

    own, folder = encoder.adapter.model, str(encoder_folder(path))
    masked = type(own.config) in MODEL_FOR_MASKED_LM_MAPPING
    if masked and encoder.tokenizer.mask_token is None:
        raise ValueError(f"{type(own).__name__} fills masks, but the tokenizer in {folder} has no mask token; name it there, or use clicks")
    if not masked and type(own.config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"{type(own).__name__} has a head neither for masked words nor for the next word; adapt it by clicks")
    kind: Any = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    setattr(model, model.base_model_prefix, own)
    words: nn.Module = model.get_output_embeddings()
    if getattr(model.config, "tie_word_embeddings", True):
        words.weight = own.get_input_embeddings().weight
    return model.to(own.device).eval(), masked
