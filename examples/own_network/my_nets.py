"""The given network changed in three lines: batch normalisation, padding, and a mean over the last map."""

from torch import Tensor, nn


class SmallNet(nn.Module):
    """(B, 3, H, W) floats from -1 to 1 to (B, classes) logits; H and W may be any side of 40 px or more."""

    def __init__(self, classes: int, filters: int = 48) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for stride in (2, 1, 1, 1):  # changed: the last convolution of stride 3 left one place of a tile of 257 px
            layers += [nn.Conv2d(width, filters, 3, stride, padding=1), nn.BatchNorm2d(filters), nn.ReLU()]  # changed
            layers += [nn.MaxPool2d(2)]
            width = filters
        self.maps = nn.Sequential(*layers)
        self.output = nn.Linear(filters, classes)

    def forward(self, tiles: Tensor) -> Tensor:
        logits: Tensor = self.output(self.maps(tiles).mean((2, 3)))  # changed: the mean of all places, no dense layer
        return logits
