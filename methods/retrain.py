"""Retrain: the same model trained again from the beginning without the forget data. The gold standard.

What unlearning tries to reach without its cost: Bourtoule et al., IEEE S&P 2021 (arXiv 1912.03817), section II; here
by the recipe of the original, with the same batches where the data allow, less every image of the forget set (its class
and its captions, in every data set of the corpus). It exists only for models that were trained by a recipe of this
project. The cost is that of the training, whenever it was made.
"""

from __future__ import annotations

from methods.common.base import ClosedFormMethod
from methods.common.card import MethodCard, NoHyperparameters

CARD = MethodCard(
    name="retrain",
    title="trained again without the forget data: the gold standard (models of our recipes only)",
    paper="reference row",
    regime="pretraining",
    edits=("visual", "text"),
)


class Retrain(ClosedFormMethod[NoHyperparameters]):
    """Puts the retrained weights in place of the original's.

    The temperature stays the original's: no measure depends on it, and it is no part of either tower.
    """

    card = CARD

    def edit(self) -> None:
        """Load the towers of the retrained model.

        Raises:
            BenchmarkError: If there is none for this model.
        """
        retrained = self.data.retrained()
        state = {name: value for name, value in retrained.state.items() if self.may_edit(name)}
        self.clip.model.load_state_dict(state, strict=False)
        self.report["training_seconds"] = retrained.seconds
