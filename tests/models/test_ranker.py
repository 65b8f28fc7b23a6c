import dataclasses

import pytest
import torch

from models.metrics import auc, calibration_slope
from models.ranker import FITTING, RELEVANCE_GAIN, Ranker, RankerConfig
from models.records import ItemTable, UserState
from models.training import FinetuneSettings, TrainState, finetune


def at_position(batch, position):
    return dataclasses.replace(batch, position=torch.full_like(batch.position, position))


@torch.no_grad()
def test_score_equals_forward_at_the_reference_position(make_ranker_world):
    world = make_ranker_world(rows=40)
    ranker = world.ranker()
    torch.nn.init.normal_(ranker.position_term)
    forward = ranker(at_position(world.batch, 0), world.items)
    scored = ranker.score(
        world.batch.user, world.batch.item.unsqueeze(1), world.items, world.item_state, world.batch.cross.unsqueeze(1)
    )
    torch.testing.assert_close(scored.squeeze(1), forward, atol=1e-5, rtol=0)


def test_a_score_does_not_depend_on_the_other_candidates_or_users(make_ranker_world, monkeypatch):
    world = make_ranker_world(rows=30)
    ranker, cross = world.ranker(), torch.rand(30, 7, 1)
    candidates = torch.randint(1, 81, (30, 7))
    together = ranker.score(world.batch.user, candidates, world.items, world.item_state, cross)
    monkeypatch.setattr("models.ranker._PAIRS_AT_ONCE", 20)
    in_pieces = ranker.score(world.batch.user, candidates, world.items, world.item_state, cross)
    alone = ranker.score(world.batch.user, candidates[:, 2:3], world.items, world.item_state, cross[:, 2:3])
    torch.testing.assert_close(together, in_pieces, atol=1e-5, rtol=0)
    torch.testing.assert_close(together[:, 2:3], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_position_term_is_zero_at_the_top_and_shared_from_the_last_row_on(make_ranker_world):
    world = make_ranker_world(rows=20)
    ranker = world.ranker()
    ranker.position_term.copy_(torch.arange(20.0).reshape(10, 2))
    base = ranker(at_position(world.batch, 0), world.items)
    shift = [ranker(at_position(world.batch, p), world.items) - base for p in (1, 10, 500)]
    torch.testing.assert_close(shift[0], torch.tensor([[0.0, 1.0]]).expand(20, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(shift[1], torch.tensor([[18.0, 19.0]]).expand(20, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(shift[1], shift[2])


def test_a_user_without_history_and_an_unknown_item_get_finite_logits_and_gradients(make_ranker_world):
    world = make_ranker_world(rows=4)
    ranker = world.ranker()
    empty = dataclasses.replace(world.batch.user, history=torch.zeros(4, 6, dtype=torch.int64))
    batch = dataclasses.replace(world.batch, user=empty, item=torch.zeros(4, dtype=torch.int64))
    logits = ranker(batch, world.items)
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(p.grad).all() for p in ranker.parameters() if p.grad is not None)


@torch.no_grad()
def test_padding_does_not_count_as_history(make_ranker_world):
    world = make_ranker_world(rows=12)
    ranker, user = world.ranker(), world.batch.user
    wide = UserState(
        user.counters,
        torch.nn.functional.pad(user.history, (3, 0)),
        torch.nn.functional.pad(user.history_age_h, (3, 0), value=7.0),
        torch.nn.functional.pad(user.history_weight, (3, 0), value=1.0),
    )
    padded = ranker(dataclasses.replace(world.batch, user=wide), world.items)
    torch.testing.assert_close(padded, ranker(world.batch, world.items), atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_towers_dot_product_is_the_retrieval_score_and_an_input_of_the_logit(make_ranker_world):
    world = make_ranker_world(rows=10)
    ranker = world.ranker()
    users, items = (
        ranker.user_vectors(world.batch.user, world.items),
        ranker.item_vectors(world.items, world.item_state),
    )
    batch = at_position(world.batch, 0)
    logits, tower = ranker.logits_and_tower(batch, world.items)
    dot = (users * items[batch.item]).sum(1)
    torch.testing.assert_close(tower, dot + ranker.tower_bias, atol=1e-5, rtol=0)
    ranker.position_term.fill_(0.5)
    lower = ranker.logits_and_tower(at_position(world.batch, 3), world.items)[1]
    torch.testing.assert_close(lower, tower + 0.5, atol=1e-5, rtol=0)
    ranker.user_tower[2].weight.mul_(3)
    assert not torch.allclose(ranker(batch, world.items), logits)


def test_the_largest_similarity_leaves_the_candidate_itself_out(make_ranker_world):
    world = make_ranker_world(rows=2)
    ranker = world.ranker()
    text = ranker.text(world.items.vectors)
    user = UserState(torch.zeros(1, 1), torch.tensor([[0, 5]]), torch.zeros(1, 2), torch.ones(1, 2))
    encoded = ranker.history(user, user.history, text)
    figures, _ = ranker.history.compare(encoded, text[[5, 6]].unsqueeze(0), torch.tensor([[5, 6]]))
    torch.testing.assert_close(figures[0, 0, [0, 1, 3]], torch.ones(3))
    assert figures[0, 0, 2] == 0
    torch.testing.assert_close(figures[0, 1, 2], text[5] @ text[6])


def test_the_config_survives_json_and_refuses_unknown_keys(make_ranker_world):
    config = make_ranker_world(rows=2).config
    assert RankerConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="unknown keys"):
        RankerConfig.from_json(config.to_json().replace("text_dim", "text_width"))


def test_other_columns_than_the_configs_are_refused(make_ranker_world):
    world = make_ranker_world(rows=3)
    with pytest.raises(ValueError, match="expected 1 columns, found 2"):
        world.ranker()(dataclasses.replace(world.batch, cross=torch.zeros(3, 2)), world.items)


def test_what_never_varied_at_the_bootstrap_does_not_move_the_scores_until_it_is_learned(make_ranker_world):
    world = make_ranker_world(rows=400)
    silent = dataclasses.replace(world.batch, item_counters=world.batch.item_counters * torch.tensor([1.0, 0.0]))
    torch.manual_seed(3)
    ranker = Ranker(world.config)
    ranker.fit_statistics(silent, world.items)
    ranker.eval()
    assert torch.equal(ranker(silent, world.items), ranker(world.batch, world.items))
    settings = FinetuneSettings(lr=1e-2, batch_size=128)
    learned = finetune(TrainState.create(ranker, settings), world.batch, world.items, settings).ranker
    assert not torch.allclose(learned(silent, world.items), learned(world.batch, world.items))


def test_calibration_mends_scale_and_level_of_each_task_and_keeps_the_order(make_ranker_world):
    world = make_ranker_world(rows=3000)
    ranker = world.ranker()
    with torch.no_grad():
        raw = ranker(world.batch, world.items)
        chance = (0.4 * raw - 2.0).sigmoid()
    labels = torch.bernoulli(chance, generator=torch.Generator().manual_seed(2))
    batch = dataclasses.replace(world.batch, labels=labels)
    ranker.fit_calibration(batch, world.items)
    with torch.no_grad():
        found = ranker(batch, world.items)
    for task in range(2):
        assert calibration_slope(labels[:, task].numpy(), found[:, task].sigmoid().numpy()) == pytest.approx(1.0, abs=1e-3)
        assert found[:, task].sigmoid().mean() == pytest.approx(labels[:, task].mean().item(), abs=1e-3)
        assert (found[raw[:, task].argsort(), task].diff() > -1e-5).all()


def test_rows_of_one_label_calibrate_nothing(make_ranker_world):
    """The maximum of their likelihood lies at infinity: a quiet hour would take every logit there."""
    world = make_ranker_world(rows=400)
    ranker = world.ranker()
    labels = torch.zeros(400, 2)
    labels[:200, 0], labels[:9, 1] = 1.0, 1.0
    ranker.fit_calibration(dataclasses.replace(world.batch, labels=labels), world.items)
    assert ranker.calibration_shift[0] != 0 and ranker.calibration_scale[0] != 1
    assert ranker.calibration_shift[1] == 0 and ranker.calibration_scale[1] == 1


def test_the_log_ratio_of_the_rate_moves_logits_and_retrieval_from_the_first_day(make_ranker_world):
    world = make_ranker_world(rows=50)
    plain = world.ranker()
    rated = dataclasses.replace(world, config=dataclasses.replace(world.config, rate="shows", rate_base=2.0)).ranker()
    ratio = (world.batch.item_counters[:, 1].clamp(min=1e-4) / 2.0).log()
    with torch.no_grad():
        moved = rated(world.batch, world.items) - plain(world.batch, world.items)
        torch.testing.assert_close(moved, ratio.unsqueeze(1).expand(-1, 2), atol=1e-5, rtol=1e-5)
        rows = world.batch.item
        dots = [
            (ranker.user_vectors(world.batch.user, world.items) * ranker.item_vectors(world.items, world.item_state)[rows]).sum(1)
            for ranker in (plain, rated)
        ]
    torch.testing.assert_close(dots[1] - dots[0], ratio, atol=1e-4, rtol=1e-4)


@pytest.fixture
def make_search_world(make_ranker_world):
    """Half of the rows were searched for with the text of one of five topics; only these are clicked, where the item's text is near."""

    def make(rows=400):
        world = make_ranker_world(rows=rows)
        vectors = torch.cat([world.items.vectors, torch.randn(5, 16, generator=torch.Generator().manual_seed(9))])
        query = torch.randint(len(world.items), len(vectors), (rows,), generator=torch.Generator().manual_seed(1))
        query[::2] = 0
        match = torch.nn.functional.cosine_similarity(vectors[query], vectors[world.batch.item], dim=-1) * (query > 0)
        batch = dataclasses.replace(world.batch, query=query, cross=match.unsqueeze(1))
        config = dataclasses.replace(world.config, cross=("query_match",), relevance="query_match")
        return dataclasses.replace(world, batch=batch, items=ItemTable.of_texts(vectors), config=config)

    return make


@torch.no_grad()
def test_a_search_is_scored_as_it_was_taught(make_search_world):
    world = make_search_world(rows=40)
    ranker, batch = world.ranker(), at_position(world.batch, 0)
    cross = batch.cross.unsqueeze(1)
    scored = ranker.score(batch.user, batch.item.unsqueeze(1), world.items, world.item_state, cross, batch.query)
    torch.testing.assert_close(scored.squeeze(1), ranker(batch, world.items), atol=1e-5, rtol=0)
    unasked = ranker.score(batch.user, batch.item.unsqueeze(1), world.items, world.item_state, cross)
    asked = batch.query > 0
    torch.testing.assert_close(unasked[~asked], scored[~asked])
    assert not torch.isclose(unasked[asked], scored[asked]).any(), "the query is more than its match"
    assert len(ranker.item_vectors(world.items, world.item_state)) == len(world.item_state), "texts of searches are no items"


def test_before_a_search_has_taught_what_fits_the_query_comes_first(make_search_world):
    """A log without searches: the match alone orders the results, its gain as it was set; the other query features are silent."""
    world = make_search_world(rows=100)
    batch = dataclasses.replace(world.batch, query=torch.zeros_like(world.batch.query), cross=torch.zeros_like(world.batch.cross))
    ranker = dataclasses.replace(world, batch=batch).ranker()
    with torch.no_grad():
        moved = ranker(world.batch, world.items) - ranker(batch, world.items)
    wanted = RELEVANCE_GAIN * (world.batch.cross - FITTING) * (world.batch.query > 0).unsqueeze(1)
    torch.testing.assert_close(moved, wanted.expand(-1, 2), atol=1e-4, rtol=0)
    settings = FinetuneSettings(lr=1e-2, batch_size=128)
    learned = finetune(TrainState.create(ranker, settings), world.batch, world.items, settings).ranker
    width = world.config.dim + 1
    assert learned.skip.weight[:, -width:].abs().min() > 0, "searches teach what was silent"


def test_searches_teach_the_query_side(make_search_world):
    """Clicks follow one direction of the text alone, which the cosine over all of it blurs."""
    world = make_search_world(rows=1200)
    vectors, query = world.items.vectors, world.batch.query
    clicked = (vectors[query, 0] * vectors[world.batch.item, 0] > 0) & (query > 0)
    batch = dataclasses.replace(world.batch, labels=clicked.float().unsqueeze(1).expand(-1, 2))
    fresh = dataclasses.replace(world, batch=batch).ranker()
    settings = FinetuneSettings(lr=1e-2, batch_size=64, epochs=12, ema=0.9)
    teaching, judging = batch.rows(slice(0, 900)), batch.rows(slice(900, None))
    learned = finetune(TrainState.create(fresh, settings), teaching, world.items, settings).served()
    asked = (judging.query > 0).numpy()
    labels = judging.labels[:, 0].numpy()[asked]
    with torch.no_grad():
        before, after = (auc(labels, ranker(judging, world.items)[:, 0].numpy()[asked]) for ranker in (fresh, learned))
    assert after > 0.8 and after > before + 0.1
