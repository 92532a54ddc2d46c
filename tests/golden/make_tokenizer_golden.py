"""Writes the goldens of the tokenizer tests: what Hugging Face's `tokenizers` makes of a set of texts.

Usage: python make_tokenizer_golden.py [--gguf SmolLM2-135M-Instruct.gguf]
Needs the PyPI packages tokenizers (0.2x), and gguf for --gguf, without which the goldens of the real vocabulary are
left as they are. Every text is made here. Output: tokenizer/texts.json, tokenizer/<family>.json,
tokenizer/smollm2.json (ids only; its vocabulary comes from the model file).
"""

import argparse
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import trainers

HERE = pathlib.Path(__file__).parent / "tokenizer"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im|>"]
USER_DEFINED = ["<tool_call>", "<tool_call>>", "«é»"]

HAND_WRITTEN = [
    "", " ", "  ", "\n", "a", "The river rose slowly, and nobody in the valley seemed to mind.",
    "Isn't it late? We've said they'll come; I'm sure he'd know what she's done. DON'T! WE'LL see, THEY'RE off.",
    "It\u2019s a curly apostrophe, isn\u2019t it?  '\u017f and '\u017fs are long s.", "'s't're've'm'll'd'S'T'RE'x",
    "In 2024 there were 1,234,567 birds; 3.14159 of them (roughly) flew 42km at 07:30.", "0123456789 12 123 1234 a1b22c333",
    "½ ¾ ² ³ Ⅷ ⅻ ① ٣٤٥ ४५६ 五 𝟘𝟙𝟚 ৭৮", "x²+y²=z² and H₂O",
    "def f(x):\n    if x <= 0:\n        return None  # nothing\n\treturn [i**2 for i in range(x)]\n\n\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i] * 0x1F; } // 100%\r\n#include <vector>\r\n\r\n",
    'const s = `${a}-${b}`; let j = {"k": [1, 2.5, -3e8], "t": true};', "SELECT * FROM t WHERE a='b''c' AND d>=10;\n",
    "<div class=\"x\">&nbsp;<a href='/y?z=1&w=2'>link</a></div>", "a/b/c.txt C:\\dir\\file ~/.config --flag=value -x",
    "今天的天气很好，我们去公园散步吧。", "東京で三つの本を買いました。カタカナとひらがな。", "오늘은 날씨가 좋네요. 산책하러 갑시다!",
    "Хорошо, тогда завтра в семь.", "Καλημέρα, τι κάνεις;", "שלום, מה שלומך היום?", "مرحبا، كيف حالك؟ ١٢٣",
    "नमस्ते, आप कैसे हैं?", "สวัสดีครับ วันนี้อากาศดี", "Žluťoučký kůň příšerně úpěl; façade, naïve, Ångström, ﬁne ﬂow",
    "🙂🙃 👍🏽 👩‍👩‍👧‍👦 🇫🇷🇯🇵 ❤️ 1️⃣ a🙂b 🙂🙂🙂", "e\u0301a\u0308 o\u0302\u0323 \u1112\u1161\u11ab q\u0307\u0323 \u212b \u2126 \ufb01",
    "\u0301 starts with a mark, a\u0301\u0302\u0303\u0304 many", "Z\u0335\u0321a\u0337\u0322l\u0334g\u0338o",
    "a\u0000b\u0001c\u0007\u0008\u001b[31mred\u001b[0m\u007f", "th\u0004e ba\u0006ck \U00040000x \u0013\u0014\u0016\u001d",
    "tabs\t\tand\vvertical\fform \u0085next\u00a0nbsp\u2028line\u2029para\u3000wide",
    "\u180emongolian\u180e \u200bzero\u200d\ufeffwidth \u1680ogham \u202fnarrow\u205fmath", " \u00a0 \u2003 x \u2003\u2003y",
    "   leading", "trailing   ", "a  b   c    d", "a\n\nb\n \n c \n\n\n", "a \n", "a\r\rb\r\n \r\n", "\n\n\n   \n  x", "   1   2  3",
    "a  1", "  1", "...!!! ??? --- ===", "!\n\n?\r\n .\n", " !a !1 !\n", "_snake_case camelCase PascalCase kebab-case",
    "ﾊﾝｶｸ Ｆｕｌｌｗｉｄｔｈ １２３", "\U00010330\U00010331 \U0001d49c \U000e0041 \U0010fffd \ue000 \ufffd \uffff",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "thethethethethethethethethethethethethethethethethethethethethethethethethethethethethethetheth",
    "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n", "a<|im_end|>b <|im_end|> c",
    "a" + "\u0301\u0323" * 50 + "e", "\u0f73\u0f71\u0344\u0323" * 20 + "o\u0302" + "\u0323\u0301" * 33,
    "<|im_start|", "<|im_start|>>", "<<|im_start|>", "<|im|>_start|><|im_start<|im|>", "<|im_start|><|im_start|>",
    "<tool_call>{\"name\": \"x\"}<tool_call>> <tool_call", "x«é»y«e\u0301»z", "<|endoftext|>  <|endoftext|>\n",
]

WORDS = ("the of and river stone light walking quickly morning house seven garden letter window under another people "
         "because through would there their which something between system return value index number string class "
         "function import while break error result list table count first second third").split()
POOLS = [
    list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"), list("0123456789"), list(" \t\n\r\u00a0\u3000 \u2028"),
    list("'\"!?.,;:-_=+*/\\()[]{}<>|@#$%^&~`"), list("éüñçøßœžłőğǆ"), list("日本語中文字漢的是不了한국어カナ"),
    list("абвгдאבגابتकखगกขคαβγ"), list("🙂🎉🚀👍🏽❤️👩‍💻🇩🇪"), list("\u0301\u0308\u0323\u0327\u093f\u3099\u200d\ufe0f"),
    list("\u0000\u0001\u0002\u001f\u007f\u0080\u009f\u00ad\u180e\u200b\ufeff"), ["'s", "'LL", " the", "  ", "\r\n", "12"],
    ["<|im_start|>", "<|im_end|>", "<|im", "|>", "<tool_call>", ">", "«é»"],
]


def make_texts():
    rng = random.Random(20250101)
    texts = list(HAND_WRITTEN)
    for _ in range(240):
        pools = rng.sample(POOLS, rng.randint(1, 5))
        texts.append("".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 60))))
    return texts


def make_corpus():
    rng = random.Random(7)
    lines = [" ".join(rng.choices(WORDS, k=12)) + rng.choice([".", "!", "?\n", ",", " 12", " 345"]) for _ in range(400)]
    code = ["    if {0} == {1}:\n        return {1}[{2}]\n".format(*rng.choices(WORDS, k=2), rng.randint(0, 999))
            for _ in range(200)]
    return lines + code + [text for text in HAND_WRITTEN if "<|" not in text] * 3


def pre_tokenizer(family):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=family in ("smollm", "gpt2"))
    if family == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    if family == "gpt2":
        return byte_level
    digits = r"\p{N}{1,3}" if family == "llama-bpe" else r"\p{N}"
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(CONTRACTIONS + digits + TAIL), behavior="isolated"), byte_level])


def make_tokenizer(family, model):
    tokenizer = Tokenizer(model)
    if family == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizer(family)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def encode_all(tokenizer, texts):
    """The ids with special tokens recognised, and with their text taken as text."""
    result = {}
    for key, as_text in (("ids_trusted", False), ("ids_untrusted", True)):
        tokenizer.encode_special_tokens = as_text
        result[key] = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    tokenizer.encode_special_tokens = False
    return result


def family_golden(family, texts):
    trained = make_tokenizer(family, models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=640, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    trained.train_from_iterator(make_corpus(), trainer)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    # Llama 3 takes a piece that is a token as it is: one such token that no merge makes shows the difference.
    vocabulary = dict(model["vocab"])
    for extra in ("Ġgarden", "return", "Hi"):
        vocabulary.setdefault(extra, len(vocabulary))
    tokenizer = make_tokenizer(
        family, models.BPE(vocab=vocabulary, merges=merges, ignore_merges=family == "llama-bpe"))
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in USER_DEFINED])
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    return {
        "family": family, "tokens": tokens, "merges": [list(merge) for merge in merges],
        "special": [tokenizer.token_to_id(t) for t in SPECIAL],
        "user_defined": [tokenizer.token_to_id(t) for t in USER_DEFINED], **encode_all(tokenizer, texts),
    }


def smollm2_golden(path, texts):
    import gguf
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = make_tokenizer("smollm", models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False)
                                  for t, kind in zip(tokens, kinds) if kind == 3])
    assert len(tokens) == tokenizer.get_vocab_size()
    result = encode_all(tokenizer, texts)
    result["decoded"] = [tokenizer.decode(ids, skip_special_tokens=True) for ids in result["ids_trusted"]]
    return result


def write(name, value):
    (HERE / name).write_text(json.dumps(value, separators=(",", ":")) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf")
    args = parser.parse_args()
    HERE.mkdir(exist_ok=True)
    texts = make_texts()
    write("texts.json", texts)
    for family in ("smollm", "gpt2", "llama-bpe", "qwen2"):
        write(family + ".json", family_golden(family, texts))
    if args.gguf:
        write("smollm2.json", smollm2_golden(args.gguf, texts))


if __name__ == "__main__":
    main()
