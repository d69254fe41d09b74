import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chord_fl.models.spec import ModelSpec
from chord_fl.quantization.activations import Activations
from chord_fl.quantization.affine import fake_quantise


def observed(bits: int, inputs: torch.Tensor) -> Activations:
    found = Activations(2, bits)
    found(1, inputs)
    return found.eval()


@given(st.integers(2, 8), st.integers(0, 1000))
def test_inputs_within_the_range_are_rounded_as_the_affine_quantiser_does(bits: int, seed: int) -> None:
    inputs = torch.randn(40, generator=torch.Generator().manual_seed(seed))
    found = observed(bits, inputs)(1, inputs)
    assert len(found.unique()) <= 2**bits
    torch.testing.assert_close(found, fake_quantise(inputs[None], bits)[0], rtol=1e-5, atol=1e-6)


def test_inputs_beyond_the_range_are_cut_and_zero_is_exact() -> None:
    found = observed(3, torch.tensor([-1.0, 2.0]))(1, torch.tensor([-50.0, 0.0, 50.0]))
    assert found[1] == 0 and -1.3 < found[0] < -0.7 and 1.7 < found[2] < 2.3


def test_a_deployed_range_does_not_move_with_what_it_sees() -> None:
    deployed = observed(4, torch.randn(30))
    before = deployed.high.clone()
    deployed(1, 100 * torch.randn(30))
    assert torch.equal(deployed.high, before)


def test_each_layer_has_a_range_of_its_own_that_follows_training() -> None:
    activations = Activations(2, 4)
    activations(0, torch.tensor([1.0]))
    activations(1, torch.tensor([-2.0, 3.0]))
    activations(1, torch.tensor([-2.0, 5.0]))
    assert activations.high.tolist() == pytest.approx([1.0, 3.2]) and activations.low.tolist() == pytest.approx([0, -2])


def test_the_gradient_passes_straight_through_inside_the_range() -> None:
    deployed = observed(3, torch.tensor([-1.0, 1.0]))
    inputs = torch.tensor([-2.0, -0.3, 0.4, 2.0], requires_grad=True)
    deployed(1, inputs).sum().backward()
    assert inputs.grad is not None and inputs.grad.tolist() == [0, 1, 1, 0]


def test_full_precision_holds_nothing_and_changes_nothing() -> None:
    activations = Activations(3, 32)
    inputs = torch.randn(5)
    assert activations(0, inputs) is inputs and not activations.state_dict()


@pytest.mark.parametrize("backbone", ["sasrec", "caser"])
def test_every_frozen_layer_of_a_backbone_reads_rounded_inputs(backbone: str) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(backbone, 30, 2, 8, 6, 9, (2, 4, 6, 8), 5, 1.0, activation_bits=3)
    built = spec.build_backbone()
    windows = torch.randint(1, 31, (40, 6))
    built(windows, spec.frozen_weights())
    assert (built.activations.high > built.activations.low).all() and len(built.activations.high) == len(
        spec.layout.layers
    )
    plain = ModelSpec(backbone, 30, 2, 8, 6, 9, (2, 4, 6, 8), 5, 1.0).build_backbone()
    plain.load_state_dict({k: v for k, v in built.state_dict().items() if not k.startswith("activations.")})
    rounded, exact = built.eval()(windows, spec.frozen_weights()), plain.eval()(windows, spec.frozen_weights())
    assert not torch.allclose(rounded, exact, atol=1e-3)
    assert torch.corrcoef(torch.stack([rounded.flatten(), exact.flatten()]))[0, 1] > 0.8
