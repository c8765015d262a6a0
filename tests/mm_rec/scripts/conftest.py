import pytest
import torch

from mm_rec.scripts import pretrain
from mm_rec.scripts.arguments import end_with_status

SHORT = [
    "--model_name=mm-rec-1m-char",
    "--batch_size=2",
    "--seq_len=16",
    "--max_steps=4",
    "--warmup_steps=1",
    "--checkpoint_interval=2",
    "--eval_interval=2",
    "--eval_batches=1",
    "--sample_interval=0",
    "--log_interval=1",
    "--no-use_tensorboard",
    "--validation=tail",
]


@pytest.fixture(autouse=True)
def _one_thread():
    """Small models gain nothing from more, and lose much where others use the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "animals.txt"
    path.write_text("the cat sat on the mat. a dog ran to the sea! who saw the owl? " * 20)
    return path


@pytest.fixture
def call():
    """Run a script's main function, and return its exit status."""

    def run(main, *arguments):
        with pytest.raises(SystemExit) as left:
            end_with_status(main, "script", [str(one) for one in arguments])
        return left.value.code

    return run


@pytest.fixture
def train(call, text_file, tmp_path):
    """Train in a few steps into tmp_path/run; later flags win."""

    def run(*arguments, status=0):
        folder = tmp_path / "run"
        fixed = (*SHORT, f"--data_dir={text_file}", f"--checkpoint_dir={folder}")
        assert call(pretrain.main, *fixed, *arguments) == status
        return folder

    return run


@pytest.fixture(scope="session")
def trained_run(text_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    pretrain.main([*SHORT, f"--data_dir={text_file}", f"--checkpoint_dir={folder}"])
    return folder
