"""What a transformer member is trained from, how large it is, and how long that may take."""

from dataclasses import dataclass

from ivme.errors import UsageError

FAMILIES = ("BERT", "RoBERTa")  # names of members, and of what is made from scratch for them
LANGUAGE_MODEL = "LM"  # the member on a language model that stays as it is; LM2 on a second one

# Seconds of training for each text where no budget is given, and the limits of that.
BUDGET_S_PER_TEXT = 0.1
LEAST_BUDGET_S = 30.0
MOST_BUDGET_S = 600.0

TEXTS_TO_A_ROW = 60  # a batch holds one of so many texts, within 8 and the largest of the recipe


def language_model_names(count: int) -> tuple[str, ...]:
    """Return the names of members on so many language models: LM, LM2, LM3."""
    return tuple(LANGUAGE_MODEL + (str(at) if at > 1 else "") for at in range(1, count + 1))


def is_language_model(member: str) -> bool:
    """Return whether a member of that name stands on a language model that stays as it is."""
    return member.rstrip("0123456789") == LANGUAGE_MODEL


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is right for one way to start, where the settings leave it open.

    max_length: tokens. shortened_share, changed_share: of the windows that are cut short, and that
    are misspelled, lose marks and the like. masked_share: of tokens to hide.
    """

    epochs: int
    learning_rate: float
    max_length: int
    largest_batch: int
    shortened_share: float
    changed_share: float
    masked_share: float


# A small network from scratch needs many passes at a high rate. A pretrained one forgets at such
# rates, and is slow: more windows of a quarter of the length are worth more than few of all.
SCRATCH = Recipe(
    epochs=20,
    learning_rate=5e-4,
    max_length=512,
    largest_batch=32,
    shortened_share=0.5,
    changed_share=0.0,
    masked_share=0.1,
)
TUNED = Recipe(
    epochs=4,
    learning_rate=2e-4,
    max_length=128,
    largest_batch=16,
    shortened_share=0.2,
    changed_share=0.45,
    masked_share=0.0,
)


TUNED_WIDTH = 384  # that its rate is for; wider ones take less, as 5e-5 is usual at 768


@dataclass(frozen=True, kw_only=True)
class TransformerSettings:
    """How one transformer is trained.

    base: a model folder, preset or hub id to fine-tune; None: a small one from scratch, of the
    sizes here, with a tokenizer trained on the texts. What is None is as the recipe has it.
    max_length: tokens; all parts of longer texts are trained on, their beginning is scored.
    budget_s: seconds of training at most; None: a tenth of one for each text, 30 to 600. epochs:
    passes over the texts at most; fewer if the loss on texts kept apart has not fallen for
    `patience` of them. batch_size: None: from 8 for few texts to 16 of a base, 32 from scratch.
    seed: with the member's name it decides everything drawn, so that two members of one base
    differ. device: None: the fastest that is there.
    """

    base: str | None = None
    layers: int = 2
    hidden_size: int = 128
    heads: int = 2
    vocabulary_size: int = 8000
    max_length: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    budget_s: float | None = None
    patience: int = 3
    seed: int = 0
    threads: int = 1
    device: str | None = None

    def __post_init__(self) -> None:
        counts = ("layers", "hidden_size", "heads", "patience", "threads")
        given = {name: getattr(self, name) for name in counts}
        given["epochs"] = 1 if self.epochs is None else self.epochs
        given["batch_size"] = 1 if self.batch_size is None else self.batch_size
        for name, value in given.items():
            if value < 1:
                raise UsageError(f"{name}={value}; expected 1 or more")
        if self.hidden_size % self.heads:
            raise UsageError(
                f"hidden_size={self.hidden_size}, heads={self.heads}; expected a multiple of heads"
            )
        if self.tokens < 8 or self.vocabulary_size < 500:
            raise UsageError(
                f"max_length={self.tokens}, vocabulary_size={self.vocabulary_size}; expected "
                "8 or more, and 500 or more"
            )
        for name, number in (("budget_s", self.budget_s), ("learning_rate", self.learning_rate)):
            if number is not None and not number > 0:
                raise UsageError(f"{name}={number}; expected more than 0")

    @property
    def recipe(self) -> Recipe:
        """What stands in for settings left open."""
        return SCRATCH if self.base is None else TUNED

    @property
    def tokens(self) -> int:
        """Tokens of a text at most."""
        return self.recipe.max_length if self.max_length is None else self.max_length

    def rate_for(self, width: int) -> float:
        """Return the highest learning rate for a network of that hidden size."""
        if self.learning_rate is not None or self.base is None:
            return self.learning_rate or self.recipe.learning_rate
        return self.recipe.learning_rate * min(1.0, (TUNED_WIDTH / width) ** 2)

    @property
    def most_epochs(self) -> int:
        """Passes over the texts at most."""
        return self.epochs or self.recipe.epochs

    def texts_per_batch(self, texts: int) -> int:
        """Return the batch size; small for few texts, which would else give few steps."""
        return self.batch_size or min(max(texts // TEXTS_TO_A_ROW, 8), self.recipe.largest_batch)

    def seconds_for(self, texts: int) -> float:
        """Return the seconds that training on so many texts may take."""
        return self.budget_s or min(max(BUDGET_S_PER_TEXT * texts, LEAST_BUDGET_S), MOST_BUDGET_S)
