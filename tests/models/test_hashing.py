import numpy as np

from models.hashing import gumbel, id_hash, mix, uniform


def test_hashes_stay_what_they_were_in_the_first_release():
    assert id_hash(["u1", "é"]).tolist() == [15378189911849802130, 3394012004367669963]
    assert int(mix(7, id_hash(["u1"]), 3)[0]) == 3604889078806987860


def test_mix_separates_the_order_and_the_value_of_its_parts():
    words = [mix(a, b).item() for a in range(-20, 20) for b in range(-20, 20)]
    assert len(set(words)) == len(words)


def test_uniform_is_open_and_flat():
    numbers = uniform(7, np.arange(100_000, dtype=np.uint64))
    assert numbers.min() > 0 and numbers.max() < 1
    counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
    chi_square = ((counts - 5000) ** 2 / 5000).sum()
    assert chi_square < 43.8  # 99.9 % of chi-square with 19 degrees


def test_gumbel_noise_has_its_moments_and_repeats_by_hour_only():
    user, item = id_hash([f"u{i}" for i in range(500)]), id_hash([f"i{i}" for i in range(200)])
    items = np.tile(item, (500, 1))
    noise = gumbel(7, user, items, hour=490_000)
    assert noise.shape == (500, 200)
    assert abs(noise.mean() - 0.5772) < 0.015
    assert abs(noise.var() - np.pi**2 / 6) < 0.05
    np.testing.assert_array_equal(noise[3:5, 7:9], gumbel(7, user[3:5], items[3:5, 7:9], hour=490_000))
    assert abs(np.corrcoef(noise.ravel(), gumbel(7, user, items, hour=490_001).ravel())[0, 1]) < 0.015
