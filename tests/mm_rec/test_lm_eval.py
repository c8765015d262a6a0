import os

import pytest
import torch

from mm_rec import register
from mm_rec.configuration import MMRecConfig
from mm_rec.model import MMRecForCausalLM

WORDS = ["<end>", "a", "text", "goes", "on", "and", "stops", "here"]


@pytest.fixture
def folder(tmp_path):
    """A saved model with its tokenizer, one token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    torch.manual_seed(0)
    model = MMRecForCausalLM(MMRecConfig(vocab_size=len(WORDS), model_dim=32, num_layers=2))
    tokenizer = Tokenizer(models.WordLevel(dict(zip(WORDS, range(8), strict=True)), "<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore")  # of libraries that only lm-eval brings along
def test_lm_eval_loads_a_saved_model_and_scores_as_it_does(folder, monkeypatch):
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'ivme[eval]'")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    register()
    model = HFLM(pretrained=str(folder), device="cpu", batch_size=1, dtype="float32")
    assert type(model.model) is MMRecForCausalLM
    ask = Instance("loglikelihood", {}, ("a text goes", " on and"), 0)
    [(score, _)] = model.loglikelihood([ask], disable_tqdm=True)
    with torch.no_grad():
        logits = MMRecForCausalLM.from_pretrained(folder)(torch.tensor([[1, 2, 3, 4]])).logits[0]
    expected = logits.log_softmax(-1)[[2, 3], [4, 5]].sum()
    assert score == pytest.approx(float(expected), abs=1e-4)
