import pytest
import torch

from ivme.diagnose.phases import PhaseWatch, phase


def train(model, optimizer):
    def step():
        with phase("data"):
            batch = torch.rand(8, 4)
            with phase("tokenization"):
                torch.sort(batch)
        loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()

    return step


@pytest.fixture
def step():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
    return train(model, torch.optim.SGD(model.parameters()))


def test_phases_are_found_by_hooks_and_add_up_to_the_step(step):
    with PhaseWatch() as watch:
        watch.time_step(step)
    seconds = {name: taken[0] for name, taken in watch.seconds.items()}
    assert all(seconds[name] > 0 for name in ("data", "tokenization", "forward", "backward"))
    assert seconds["optimizer"] > 0
    assert sum(seconds.values()) == pytest.approx(watch.step_s[0])


def test_data_loaders_count_as_data():
    loader = iter(torch.utils.data.DataLoader(torch.rand(8, 2), batch_size=4))
    with PhaseWatch() as watch:
        watch.time_step(lambda: next(loader))
    assert watch.seconds["data"][0] > 0.5 * watch.step_s[0]


def test_nothing_is_watched_after_the_watch_has_ended(step):
    backward = torch.autograd.backward
    with PhaseWatch() as watch:
        watch.time_step(step)
    step()
    assert torch.autograd.backward is backward
    assert len(watch.step_s) == 1
