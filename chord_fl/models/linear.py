"""The one product that a backbone is made of: a linear layer whose matrix may differ from device to device."""

import torch
from torch import Tensor
from torch.nn import functional as F


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`inputs` [N, T, in] times `weight` plus `bias`: one matrix [out, in] for all, or one per device [B, out, in].

    With a matrix per device, N is a multiple of B and each device owns N / B consecutive sequences; its `bias` is
    [out], or [B, out], or there is none.
    """
    if weight.dim() == 2:
        return F.linear(inputs, weight, bias)
    rows = inputs.reshape(weight.shape[0], -1, inputs.shape[-1])
    products = torch.bmm(rows, weight.transpose(1, 2))
    if bias is not None:
        products = products + (bias[:, None, :] if bias.dim() == 2 else bias)
    return products.reshape(*inputs.shape[:-1], weight.shape[1])
