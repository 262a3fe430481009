"""Writes the text files of the bundle: T5's config and tokenizer, the reward's vocabulary and config."""
import json

from captions import WORDS
from t5 import DEMO
from vit import FIRST_WORD, TEXT

MARK = "\u2581"


def t5_config():
    return {
        "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "d_model": DEMO["d_model"], "d_kv": DEMO["d_kv"],
        "d_ff": DEMO["d_ff"], "num_layers": DEMO["layers"], "num_decoder_layers": 0, "num_heads": DEMO["heads"],
        "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "dropout_rate": 0.0,
        "layer_norm_epsilon": 1e-06, "initializer_factor": 1.0, "feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_new",
        "is_gated_act": True, "is_encoder_decoder": True, "n_positions": 512, "output_past": True, "use_cache": True,
        "tie_word_embeddings": False, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
        "vocab_size": DEMO["vocab"], "torch_dtype": "bfloat16",
    }


def t5_tokenizer():
    """A Unigram tokenizer whose pieces are the known words; any other run of characters is one unknown piece."""
    special = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
               for i, c in enumerate(["<pad>", "</s>", "<unk>"])]
    mark = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}
    piece = lambda kind, name: {kind: {"id": name, "type_id": 0}}
    end = piece("SpecialToken", "</s>")
    vocab = [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0]] + [[MARK + word, -3.0] for word in WORDS]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, mark]},
        "post_processor": {"type": "TemplateProcessing", "single": [piece("Sequence", "A"), end],
                           "pair": [piece("Sequence", "A"), end, {"Sequence": {"id": "B", "type_id": 0}}, end],
                           "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
        "decoder": mark, "model": {"type": "Unigram", "unk_id": 2, "vocab": vocab, "byte_fallback": False},
    }


def tokenizer_config():
    return {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "extra_ids": 0, "model_max_length": 512,
            "tokenizer_class": "PreTrainedTokenizerFast"}


def vocabulary():
    """WordPiece vocabulary, one entry a line; [DEC] and [ENC] are added behind it by the loader."""
    lines = ["[PAD]"] + [f"[unused{i}]" for i in range(99)] + ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(lines) == FIRST_WORD
    return lines + WORDS


def med_config():
    return {"architectures": ["BertModel"], "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
            "hidden_size": TEXT["dim"], "initializer_range": 0.02, "intermediate_size": 4 * TEXT["dim"], "layer_norm_eps": 1e-12,
            "max_position_embeddings": TEXT["positions"], "model_type": "bert", "num_attention_heads": TEXT["heads"],
            "num_hidden_layers": TEXT["depth"], "pad_token_id": 0, "type_vocab_size": 2, "vocab_size": TEXT["vocab"],
            "encoder_width": TEXT["dim"], "add_cross_attention": True}


def write(folder):
    (folder / "t5").mkdir(parents=True, exist_ok=True)
    for name, content in (("t5/config.json", t5_config()), ("t5/tokenizer.json", t5_tokenizer()),
                          ("t5/tokenizer_config.json", tokenizer_config()), ("med_config.json", med_config())):
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
