import pytest

from chord_fl.baselines import BASELINES
from chord_fl.config import make_config
from chord_fl.models.spec import BACKBONES
from chord_fl.tuning import GRID, TUNED, UNTUNED


def test_every_method_was_tuned_with_the_same_grid_on_every_backbone() -> None:
    assert TUNED.keys() == {(backbone, method) for backbone in BACKBONES for method in ("chord", "full", *BASELINES)}
    for (backbone, method), rates in TUNED.items():
        assert rates in GRID[backbone] or method == "full"  # the base had a trial more
    assert all(UNTUNED in grid for grid in GRID.values())


@pytest.mark.parametrize(("backbone", "method"), TUNED)
def test_what_is_unset_is_as_it_was_tuned_and_shares_its_checkpoint(backbone: str, method: str) -> None:
    unset = make_config({"model": {"backbone": backbone}})
    rate, dropout = unset.rates(method)
    assert (rate, dropout) == TUNED[backbone, method]
    spelled = make_config({"model": {"backbone": backbone}, "train": {"learning_rate": rate, "dropout": dropout}})
    assert spelled.training_key(method) == unset.training_key(method)


def test_what_is_set_counts() -> None:
    assert make_config({"train": {"learning_rate": 0.5, "dropout": 0.0}}).rates("chord") == (0.5, 0.0)
    assert make_config({"train": {"dropout": 0.0}}).rates("chord") == (TUNED["sasrec", "chord"][0], 0.0)
