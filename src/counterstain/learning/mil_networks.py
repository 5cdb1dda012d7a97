"""Networks of whole bags: the tiles of a slide as rows of features, pooled by their mean or by gated attention."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from counterstain.errors import InputError, suggest

__all__ = ["BAG_NETWORKS", "BagNetwork", "build_bag_network", "is_bag_network"]

# How each one pools: whether it weighs tiles by attention.
BAG_NETWORKS = {"mil/mean": False, "mil/abmil": True}
HIDDEN, ATTENTION, DROPOUT = 256, 128, 0.25
CHUNK = 4096  # tiles worked on at once, so that memory is bounded by this and by the features themselves


class BagNetwork(nn.Module):
    """One answer for a bag of tiles, whatever their number and order.

    Each tile's features are standardised and embedded (linear, ReLU); the embedded tiles are pooled with weights that
    sum to 1; a linear layer turns what comes out into logits. The weights are all alike ("mean"), or the softmax over
    the bag's tiles of wᵀ(tanh(Vh) ⊙ sigm(Uh)) ("abmil"). Nothing else differs between the two.

    Source:
        Ilse, Tomczak & Welling 2018, ICML: attention-based deep multiple instance learning, equation 9.
    """

    def __init__(self, width: int, classes: int, *, attends: bool, hidden: int, attention: int) -> None:
        super().__init__()
        self.width, self.hidden, self.attention = width, hidden, attention if attends else 0
        self.centre: Tensor
        self.spread: Tensor
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.embed = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(DROPOUT)
        self.content = nn.Linear(hidden, attention) if attends else None
        self.gate = nn.Linear(hidden, attention) if attends else None
        self.score = nn.Linear(attention, 1) if attends else None
        self.output = nn.Linear(hidden, classes)

    def forward(self, bag: Tensor) -> Tensor:
        """(tiles, width) features of one bag, 1 tile or more, to (classes,) logits."""
        if bag.ndim != 2 or bag.shape[1] != self.width or not len(bag):
            raise ValueError(f"a bag is (tiles, {self.width}) with one tile or more, got {tuple(bag.shape)}")
        chunks = torch.split(bag, CHUNK)
        if len(chunks) > 1 and torch.is_grad_enabled():
            # What a chunk's gradient needs is computed again when it is needed, not kept for all chunks.
            parts = [checkpoint(self._pool, chunk, use_reentrant=False) for chunk in chunks]
        else:
            parts = [self._pool(chunk) for chunk in chunks]
        # The softmax over all tiles, put together from those of the chunks.
        weights = torch.softmax(torch.stack([total for total, _ in parts]), 0)
        pooled = weights @ torch.stack([part for _, part in parts])
        logits: Tensor = self.output(pooled)
        return logits

    def _embedded(self, tiles: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(torch.relu(self.embed((tiles - self.centre) / self.spread)))
        return embedded

    def _scores(self, embedded: Tensor) -> Tensor:
        """(tiles,) what the softmax over the bag is taken of."""
        if self.content is None or self.gate is None or self.score is None:
            return embedded.new_zeros(len(embedded))
        scores: Tensor = self.score(torch.tanh(self.content(embedded)) * torch.sigmoid(self.gate(embedded)))
        return scores[:, 0].float()

    def _pool(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithm of the summed exponentials of the tiles' scores, and their weighted mean."""
        embedded = self._embedded(tiles)
        scores = self._scores(embedded)
        return torch.logsumexp(scores, 0), torch.softmax(scores, 0).to(embedded.dtype) @ embedded

    def weights(self, bag: Tensor) -> Tensor:
        """(tiles,) the weight of each tile in the bag's answer, summing to 1; of "mean" all the same."""
        with torch.inference_mode():
            scores = [self._scores(self._embedded(chunk)) for chunk in torch.split(bag, CHUNK)]
            return torch.softmax(torch.cat(scores).double(), 0)

    def layout(self) -> dict[str, object]:
        """What is needed beside the name to build it again."""
        return {"width": self.width, "hidden": self.hidden, "attention": self.attention}


def is_bag_network(name: str) -> bool:
    """Whether a network's name is that of one of bags, known or not."""
    return name.startswith("mil/")


def build_bag_network(
    name: str, *, width: int, classes: int, seed: int, hidden: int = HIDDEN, attention: int = ATTENTION
) -> BagNetwork:
    """A network of bags with fresh weights, the same for the same seed.

    Args:
        name: "mil/mean" or "mil/abmil".
        width: features per tile.
        classes: how many, 2 or more.
        seed: of the weights; torch's own generator is neither read nor moved.
        hidden: width of an embedded tile.
        attention: of its two gates; "mil/mean" has none.

    Raises:
        InputError: If the name is unknown.
    """
    if name not in BAG_NETWORKS:
        raise InputError(f"no network of bags is called '{name}'{suggest(name, BAG_NETWORKS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BagNetwork(width, classes, attends=BAG_NETWORKS[name], hidden=hidden, attention=attention)
