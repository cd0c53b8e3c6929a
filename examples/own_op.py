"""An operation of your own: three lines define it; it trains, is drawn, and is held to the laws like any other.

As long as the derivative exists, anything is possible. Run: python examples/own_op.py
"""

import argparse
from pathlib import Path

import numpy as np

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
import viz
from tinygrad_cnn import data, nn, optim, testing

# Mish: x * tanh(softplus(x)). The forward takes arrays; the rule is in tensor ops, with g the upstream gradient.
mish = tc.op(
    "mish",
    forward=lambda x: x * np.tanh(np.logaddexp(0, x)),
    vjp=lambda g, x: g * (tc.tanh(F.softplus(x)) + x * tc.sigmoid(x) * (1 - tc.tanh(F.softplus(x)) ** 2)),
)


class Net(nn.Module):
    """A small network of 8 x 8 digits with the new activation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 4 * 4, 10)

    def forward(self, x: tc.Tensor) -> tc.Tensor:
        x = F.max_pool2d(mish(self.conv(x)), 2)
        return self.fc(x.flatten(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/own_op"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    # How the kit shall call it: smooth random values, of random shapes. Then it is held to every law there is.
    testing.register_op(mish, case=lambda draw: testing.OpCase((draw.smooth(draw.shape()),), {}, draw.seed))
    print(testing.run_battery("mish"))
    wrong = tc.op("wrong_mish", forward=mish.forward, vjp=lambda g, x: g * tc.tanh(F.softplus(x)))
    try:
        testing.gradcheck(wrong, [np.linspace(-3, 3, 12).reshape(3, 4)])
    except testing.GradcheckError as error:
        print(f"and half of the rule forgotten is caught: {str(error).splitlines()[0]}")

    tc.manual_seed(0)
    model = Net()
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(10):
        for images, labels in data.DataLoader(data.digits("train"), 64, shuffle=True, seed=0):
            optimizer.zero_grad()
            F.cross_entropy(model(tc.tensor(images)), labels).backward()
            optimizer.step()
    test_images, test_labels = data.digits("test")[:]
    right = model(tc.tensor(test_images)).data.argmax(axis=1) == test_labels
    print(f"trained with it: test accuracy {right.mean():.1%}")

    with viz.capture(model, optimizer) as capture:
        F.cross_entropy(model(tc.tensor(images)), labels).backward()
    capture.figure(level="op").save(out / "mish.svg")
    print(f"wrote {out / 'mish.svg'}")


if __name__ == "__main__":
    main()
