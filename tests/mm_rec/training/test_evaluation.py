import pytest
import torch
from torch.nn.functional import cross_entropy

from mm_rec.configuration import MMRecConfig
from mm_rec.data.batches import evaluation_batches
from mm_rec.errors import DataError
from mm_rec.model import MMRecForCausalLM
from mm_rec.training.distributed import Place
from mm_rec.training.evaluation import evaluate_model, losses_by_position
from mm_rec.training.reports import Evaluation

HERE = Place(device=torch.device("cpu"))


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(0)
    return MMRecForCausalLM(
        MMRecConfig(vocab_size=tokenizer.vocab_size, model_dim=16, num_layers=1, num_heads=2)
    ).train()


def true_losses(model, batches):
    with torch.no_grad():
        return torch.cat(
            [
                cross_entropy(model(ids).logits.transpose(1, 2), labels, reduction="none")
                for ids, labels in batches
            ]
        )


def test_the_loss_is_the_mean_over_all_labels_of_uneven_batches(model, token_files):
    batches = list(evaluation_batches(token_files.validation, 4, 20))
    found = evaluate_model(model, batches, 2.0, HERE)
    losses = true_losses(model, batches)
    counted = torch.cat([labels for _, labels in batches]) != -100
    assert found.tokens == counted.sum() == len(token_files.validation) - 1
    assert found.loss == pytest.approx(float(losses[counted].mean()), rel=1e-5)
    assert model.training


@pytest.mark.parametrize("chunk_size", [7, 20, 100])
def test_losses_by_position_are_those_of_the_whole_text(model, token_files, chunk_size):
    batches = list(evaluation_batches(token_files.validation, 4, 20))
    sums, counts = losses_by_position(model, batches, chunk_size)
    expected = true_losses(model.eval(), batches).sum(0)
    torch.testing.assert_close(sums.float(), expected, rtol=1e-4, atol=1e-4)
    assert counts.sum() == len(token_files.validation) - 1


def test_no_text_is_an_error(model):
    with pytest.raises(DataError, match="no text to evaluate on"):
        evaluate_model(model, [], 1.0, HERE)


def test_bits_per_byte_follow_from_the_loss():
    evaluation = Evaluation(loss=2 * 0.6931471805599453, tokens=10, bytes_per_token=4.0)
    assert evaluation.perplexity == pytest.approx(4.0)
    assert evaluation.bits_per_byte == pytest.approx(0.5)
    assert Evaluation(loss=1e4, tokens=1, bytes_per_token=1.0).perplexity == float("inf")
