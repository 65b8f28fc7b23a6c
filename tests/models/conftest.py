"""Small worlds whose truth is known by construction, shared by the tests of `models`."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from models.ranker import Ranker, RankerConfig
from models.records import ItemState, ItemTable, LoggedSlates, RankerBatch, SlateLimits, UserState

torch.set_num_threads(1)


@dataclass(frozen=True)
class RankerWorld:
    config: RankerConfig
    items: ItemTable
    batch: RankerBatch
    item_state: ItemState

    def ranker(self) -> Ranker:
        torch.manual_seed(3)
        ranker = Ranker(self.config)
        ranker.fit_statistics(self.batch, self.items)
        return ranker.eval()


@pytest.fixture
def make_ranker_world() -> Callable[..., RankerWorld]:
    """Clicks are certain where the item's topic is the topic of the user's history, seen in the text vectors only."""

    def make(rows: int = 600, items: int = 80, topics: int = 4, history: int = 6, seed: int = 0) -> RankerWorld:
        generator = torch.Generator().manual_seed(seed)
        topic = torch.randint(topics, (items,), generator=generator)
        centers = torch.randn(topics, 16, generator=generator)
        vectors = centers[topic] + 0.5 * torch.randn(items, 16, generator=generator)
        taste = torch.randint(topics, (rows,), generator=generator)
        liked = (topic == taste.unsqueeze(1)).float() + 1e-6  # (rows, items)
        past = torch.multinomial(liked, history, replacement=True, generator=generator) + 1
        past[torch.rand(rows, history, generator=generator) < 0.2] = 0
        past[0] = 0
        state = ItemState(
            torch.rand(items + 1, 2, generator=generator) * 9, torch.rand(items + 1, generator=generator) * 99
        )
        item = torch.randint(items, (rows,), generator=generator) + 1
        match = (topic[item - 1] == taste).float()
        config = RankerConfig(
            user_counters=("clicks",),
            item_counters=("clicks", "shows"),
            cross=("co_purchase",),
            tasks=("click", "buy"),
            encoder_version="made-up",
            text_dim=16,
            dim=8,
            history=history,
            hidden=32,
        )
        user = UserState(
            torch.rand(rows, 1, generator=generator) * 20,
            past,
            torch.rand(rows, history, generator=generator) * 200,
            torch.rand(rows, history, generator=generator),
        )
        batch = RankerBatch(
            user=user,
            item=item,
            item_counters=state.counters[item],
            item_age_h=state.age_h[item],
            cross=torch.rand(rows, 1, generator=generator),
            position=torch.randint(12, (rows,), generator=generator),
            labels=torch.stack([match, 0.5 * match], dim=1),
            weight=torch.ones(rows),
            query=torch.zeros(rows, dtype=torch.int64),
        )
        return RankerWorld(config, ItemTable.of_texts(torch.cat([torch.zeros(1, 16), vectors])), batch, state)

    return make


def conditional_probabilities(logits: np.ndarray, action: tuple[int, ...]) -> np.ndarray:
    """Conditional probabilities of a slate by the definition: choose, take out, renormalize."""
    left, result = np.exp(logits - logits.max()), []
    for item in action:
        result.append(left[item] / left.sum())
        left = left.copy()
        left[item] = 0.0
    return np.array(result)


@pytest.fixture
def plackett_luce() -> Callable[[np.ndarray, tuple[int, ...]], np.ndarray]:
    """The oracle of propensities, independent of `models.slates`."""
    return conditional_probabilities


@dataclass(frozen=True)
class SlateWorld:
    """Users with 5 candidates and slates of 3; a click depends on the item, its position and the item above."""

    behavior: np.ndarray  # (U, C) logits
    quality: np.ndarray  # (U, C)
    slates: LoggedSlates

    def click_probability(self, user: int, action: tuple[int, ...], k: int) -> float:
        logit = self.quality[user, action[k]] - 0.4 * k + (0.8 if k and action[k - 1] == 0 else 0.0)
        return float(1 / (1 + np.exp(-logit)))

    def true_value(self, target: np.ndarray) -> float:
        """Mean reward a slate of the policy with logits (U, C), by enumeration of all slates."""
        slates = list(permutations(range(target.shape[1]), 3))
        values = [
            sum(
                conditional_probabilities(target[user], slate).prod()
                * sum(self.click_probability(user, slate, k) for k in range(3))
                for slate in slates
            )
            for user in range(len(target))
        ]
        return float(np.mean(values))

    def logits_of(self, target: np.ndarray) -> Tensor:
        """Logits (S, C) of the logged slates."""
        return torch.from_numpy(target).float()[self.slates.user]


@pytest.fixture
def make_slate_world() -> Callable[..., SlateWorld]:
    def make(users: int = 40, per_user: int = 100, seed: int = 0, drawn_by: tuple[float, ...] = (1.0,)) -> SlateWorld:
        """drawn_by: of each policy that drew, in turn, the factor on the behavior logits."""
        random = np.random.default_rng(seed)
        behavior, quality = random.normal(size=(users, 5)), random.normal(size=(users, 5)) - 0.5
        world = SlateWorld(behavior, quality, None)  # type: ignore[arg-type]
        user = np.repeat(np.arange(users), per_user)
        policy = np.arange(len(user)) % len(drawn_by)
        logits = behavior[user] * np.array(drawn_by)[policy, None]
        action = np.argsort(-(logits + random.gumbel(size=(len(user), 5))), axis=1)[:, :3]
        propensity = np.array([conditional_probabilities(row, tuple(a)) for row, a in zip(logits, action, strict=True)])
        chance = np.array(
            [[world.click_probability(u, tuple(a), k) for k in range(3)] for u, a in zip(user, action, strict=True)]
        )
        slates = LoggedSlates(
            user_vector=torch.from_numpy(quality[user][:, :2]).float(),
            candidates=torch.from_numpy(np.stack([behavior[user], quality[user]], axis=-1)).float(),
            mask=torch.ones(len(user), 5, dtype=torch.bool),
            behavior_logits=torch.from_numpy(logits).float(),
            action=torch.from_numpy(action),
            shown=torch.ones(len(user), 3, dtype=torch.bool),
            propensity=torch.from_numpy(propensity).float(),
            reward=torch.from_numpy((random.random(chance.shape) < chance).astype(np.float32)),
            user=torch.from_numpy(user),
            following=torch.full((len(user),), -1),
            drawn_by=torch.from_numpy(policy),
            limits=SlateLimits.none(len(user), 5, 3),
        )
        return SlateWorld(behavior, quality, slates)

    return make
