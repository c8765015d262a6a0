import itertools

import pytest
import torch

from mm_rec.configuration import MMRecConfig
from mm_rec.data.batches import BatchSource, evaluation_batches
from mm_rec.data.token_file import prepare
from mm_rec.data.tokenizers import train_tokenizer
from mm_rec.model import MMRecForCausalLM
from mm_rec.training.configuration import TrainingConfig, resolve
from mm_rec.training.distributed import Place
from mm_rec.training.reports import Listener
from mm_rec.training.stopping import StopRequest
from mm_rec.training.trainer import Trainer

SENTENCES = ("the cat sat on the mat. ", "a dog ran to the sea! ", "who saw the old owl? ")


@pytest.fixture(autouse=True)
def _one_thread():
    """Tiny models gain nothing from more, and lose much where others use the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer("characters", SENTENCES, 64)


@pytest.fixture(scope="session")
def token_files(tokenizer, tmp_path_factory):
    order = itertools.islice(itertools.cycle((0, 1, 2, 1, 0, 2, 2)), 200)
    text = "".join(SENTENCES[index] for index in order)
    return prepare([text], tokenizer, tmp_path_factory.mktemp("tokens"), 0.1, "tail")


class Recorder(Listener):
    """Keeps what a run tells."""

    def __init__(self):
        self.reports, self.evaluations, self.notes, self.samples = [], [], [], []

    def stepped(self, report):
        self.reports.append(report)

    def evaluated(self, step, evaluation):
        self.evaluations.append((step, evaluation))

    def sampled(self, step, text):
        self.samples.append((step, text))

    def noted(self, text):
        self.notes.append(text)

    @property
    def losses(self):
        return [report.loss for report in self.reports]


@pytest.fixture
def make_config(tmp_path):
    def make(**settings):
        defaults = {
            "model_name": "mm-rec-1m-char",
            "max_steps": 6,
            "batch_size": 4,
            "seq_len": 32,
            "warmup_steps": 1,
            "checkpoint_dir": str(tmp_path / "run"),
            "checkpoint_interval": 100,
            "eval_interval": 0,
        }
        return resolve(TrainingConfig(**{**defaults, **settings}))

    return make


@pytest.fixture
def make_trainer(tokenizer, token_files):
    """Build a trainer of a tiny model; what it tells is in its `recorder`."""

    def make(config, checkpoint=None, batches=None, now=None, write_text=None, **shape):
        torch.manual_seed(config.seed)
        defaults = {"model_dim": 32, "num_layers": 2, "num_heads": 2, "dropout": config.dropout}
        sizes = {"vocab_size": tokenizer.vocab_size, "eos_token_id": tokenizer.end_id}
        model = MMRecForCausalLM(
            MMRecConfig(**{**defaults, **sizes, "use_uboo": config.use_uboo, **shape})
        )
        recorder = Recorder()
        trainer = Trainer(
            config,
            model,
            batches=batches
            or BatchSource(token_files.train, config.batch_size, config.seq_len, config.seed),
            validation=lambda: (
                evaluation_batches(token_files.validation, config.batch_size, config.seq_len),
                token_files.validation.bytes_per_token,
            ),
            write_tokenizer=tokenizer.save,
            write_text=write_text,
            place=Place(device=torch.device("cpu")),
            listener=recorder,
            stop=StopRequest(),
            checkpoint=checkpoint,
            **({} if now is None else {"now": now}),
        )
        trainer.recorder = recorder
        return trainer

    return make
