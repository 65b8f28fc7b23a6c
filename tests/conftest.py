"""One warm Spark Connect server for the whole session, started when the first test asks for it."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import structlog
import yaml

from pipelines.settings import Settings, load_settings

START = "2026-11-10T08"

hypothesis.settings.register_profile("recloop", deadline=None)  # a busy machine is no fault of an example
hypothesis.settings.load_profile("recloop")


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """A command that runs in this process logs to the standard error of its test, which is closed when the next test logs."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def nobody_liked():
    """Examples of before anybody took to anything."""
    from models.likers import Likers

    class Nobody:
        def parts(self, known_us, catalogue):
            yield np.arange(len(known_us)), Likers.of_counts(*[np.zeros(0, dtype=np.int64)] * 3, items=len(catalogue.ids))

    return Nobody()


@pytest.fixture(scope="session")
def spark_settings(tmp_path_factory) -> Iterator[Settings]:
    """The root that the session's server belongs to."""
    from pipelines.local.services import down

    # some thirty roots share this server; to write and compile the code of a plan takes longer than to walk it for a handful of rows
    options = yaml.safe_dump({"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"})
    settings = load_settings(tmp_path_factory.mktemp("spark-server"), {"RECLOOP__SPARK__HEAP": "3g", "RECLOOP__SPARK__OPTIONS": options})
    try:
        yield settings
    finally:
        down(settings)


@pytest.fixture(scope="session")
def spark_address(spark_settings) -> str:
    """Address of the session's server."""
    from pipelines.local.services import ensure_spark

    return ensure_spark(spark_settings)


@pytest.fixture(scope="session")
def spark_server(spark_address) -> str:
    """The same with the name of one Spark session: of its own, each root would start Python workers and load torch in them."""
    return f"{spark_address}/;session_id={uuid.uuid4()}"


@pytest.fixture(scope="session")
def spark(spark_address):
    """A session on it, for transforms."""
    from pyspark.sql import SparkSession

    session = SparkSession.builder.remote(spark_address).create()
    yield session
    session.stop()


@pytest.fixture
def loop_settings(tmp_path: Path, spark_server) -> Callable[..., Settings]:
    """Settings of a root of its own on the session's server; its loop starts at START."""

    def make(name: str = "root", **lake: object) -> Settings:
        home = tmp_path / name
        home.mkdir()
        values = {"start_hour": START, "now": "loop", **lake}
        (home / "recloop.yaml").write_text(yaml.safe_dump({"lake": values, "spark": {"remote": spark_server}}), encoding="utf-8")
        return load_settings(home, {})

    return make


@pytest.fixture(scope="session")
def save_release() -> Callable[..., None]:
    """Writes a ranker and a policy that nothing has trained into ``folder``; ``learned``: the policy's residual is not zero."""
    import torch

    from models.artifacts import save_policy, save_ranker
    from models.policies.base import PolicyConfig
    from models.policies.learners import make_policy
    from models.ranker import Ranker, RankerConfig
    from models.records import ItemTable, RankerBatch, UserState
    from spark_jobs.contracts import HISTORY
    from spark_jobs.counters import counter_names
    from spark_jobs.ranker_inputs import CROSS, RELEVANCE

    def save(folder: Path, text_dim: int, encoder_version: str = "made-up", seed: int = 5, learned: bool = True) -> None:
        torch.manual_seed(seed)
        tasks = ("click", "watch", "rating")
        names, rows = counter_names(tasks), 50
        config = RankerConfig(names, names, CROSS, tasks, encoder_version, text_dim, dim=8, hidden=16, relevance=RELEVANCE)
        ranker, counters = Ranker(config), torch.rand(rows, len(names)) * 20
        user = UserState(counters, torch.randint(0, 9, (rows, HISTORY)), torch.rand(rows, HISTORY), torch.rand(rows, HISTORY))
        batch = RankerBatch(
            user, torch.arange(rows) % 8 + 1, counters.flip(0), torch.rand(rows) * 99, torch.rand(rows, len(CROSS)),
            torch.arange(rows) % 10, torch.rand(rows, len(tasks)), torch.ones(rows), torch.zeros(rows, dtype=torch.int64),
        )  # fmt: skip
        ranker.fit_statistics(batch, ItemTable.of_texts(torch.randn(9, text_dim)))
        save_ranker(ranker.eval(), folder / "ranker")
        policy = make_policy(PolicyConfig(user_dim=20, candidate_dim=8, hidden=8))
        if learned:
            torch.nn.init.normal_(policy.out.weight)
        save_policy(policy.eval(), folder / "policy")

    return save


_CONFIGS = {
    "bert": ("BertConfig", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}),
    "roberta": ("RobertaConfig", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
}


@pytest.fixture
def make_encoder(tmp_path) -> Callable[..., Path]:
    """Folder of a random encoder of 2 layers and 32 dimensions, whose tokens are words; made once a test."""
    import torch
    import transformers
    from tokenizers import Tokenizer as Words
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    def make(architecture: str, words: str = "red wine glass blue lamp old garden chair") -> Path:
        folder = tmp_path / "encoders" / architecture
        if folder.exists():
            return folder
        special = ["<eos>"] if architecture == "gpt2" else ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        vocabulary = {word: number for number, word in enumerate([*special, *words.split()])}
        rule = Words(WordLevel(vocabulary, unk_token="<eos>" if architecture == "gpt2" else "[UNK]"))
        rule.pre_tokenizer = Whitespace()
        names = {"eos_token": "<eos>", "unk_token": "<eos>"}
        if architecture != "gpt2":
            rule.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
            names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
        kind, sizes = _CONFIGS[architecture]
        ids = {"bos_token_id": 0, "eos_token_id": 0} if architecture == "gpt2" else {"pad_token_id": 0}
        config = getattr(transformers, kind)(vocab_size=len(vocabulary), max_position_embeddings=64, initializer_range=0.2, **sizes, **ids)
        with torch.random.fork_rng():
            torch.manual_seed(11)
            transformers.AutoModel.from_config(config).save_pretrained(folder)
        transformers.PreTrainedTokenizerFast(tokenizer_object=rule, **names).save_pretrained(folder)
        return folder

    return make
