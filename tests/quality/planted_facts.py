#!/usr/bin/env python3
"""What skipping costs in facts: plants a sentence in long real documents, asks a running server for it in plain words, and
counts how many of the facts that a dense read finds each level still finds.

  planted_facts.py HTTP_PORT [--tokens 7400] [--cases 24] [--levels gentle balanced fast]

Answers are greedy, so the same server gives the same counts. Standard library only; documents are the machine's licence texts.
"""
import argparse
import http.client
import json

FACTS = (  # sentence, question, what an answer must have
    ("The access code of the north storage room is 7431.", "What is the access code of the north storage room?", "7431"),
    ("Maria Keller was born in the town of Oldenburg.", "In which town was Maria Keller born?", "Oldenburg"),
    ("The blue boat leaves the harbour at half past six.", "When does the blue boat leave the harbour?", "half past six"),
    ("The password of the guest network is marigold.", "What is the password of the guest network?", "marigold"),
    ("Doctor Brenner keeps the spare key under the green flowerpot.", "Where does Doctor Brenner keep the spare key?",
     "flowerpot"),
    ("The committee chose Lisbon as the place of its next meeting.",
     "Which city did the committee choose for its next meeting?", "Lisbon"),
    ("The old clock in the library was repaired by Thomas Wynn.", "Who repaired the old clock in the library?", "Wynn"),
    ("The bakery on Mill Street sells 240 loaves every day.",
     "How many loaves does the bakery on Mill Street sell every day?", "240"),
    ("The favourite fruit of the night watchman is the pear.", "What is the favourite fruit of the night watchman?", "pear"),
    ("The train to Rostock departs from platform nine.", "From which platform does the train to Rostock depart?", "nine"),
    ("The telescope on the hill was built in 1893.", "In which year was the telescope on the hill built?", "1893"),
    ("The captain's dog is called Bramble.", "What is the name of the captain's dog?", "Bramble"))
DEPTHS = (0.5, 0.2, 0.8, 0.35, 0.65, 0.1, 0.9)
LICENCES = ("GPL-3", "GPL-2", "LGPL-2.1", "MPL-2.0", "Apache-2.0", "GFDL-1.3", "Artistic", "MPL-1.1", "LGPL-2", "GFDL-1.2",
            "GPL-1")


def post(port, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    if response.status != 200:
        raise SystemExit(f"{path}: {answer}")
    return answer


def document(port, licences, first, tokens):
    """The licences from `first` on, one after the other, cut to about so many tokens."""
    text, size, at = "", 0, first
    while size < tokens:
        text += licences[at % len(licences)] + "\n"
        size = len(post(port, "/tokenize", {"text": text, "plain": True})["tokens"])
        at += 1
    return text[:len(text) * tokens // size]


def prompt(port, licences, case, tokens):
    """-> the prompt, and what its answer must have."""
    sentence, question, wanted = FACTS[case % len(FACTS)]
    lines = document(port, licences, case, tokens).split("\n")
    lines.insert(int(len(lines) * DEPTHS[case % len(DEPTHS)]), sentence)
    return "\n".join(lines) + "\n\n" + question, wanted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--tokens", type=int, default=7400)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--levels", nargs="+", default=["gentle", "balanced", "fast"])
    a = parser.parse_args()
    licences = [open(f"/usr/share/common-licenses/{name}", errors="replace").read() for name in LICENCES]
    levels = ["off"] + a.levels
    found, bounds = {level: [] for level in levels}, {}
    for case in range(a.cases):
        text, wanted = prompt(a.port, licences, case, a.tokens)
        for level in levels:
            reply = post(a.port, "/v1/chat/completions", {
                "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 24, "skip": level})
            answer = reply["choices"][0]["message"]["content"]
            found[level].append(wanted.lower() in answer.lower())
            bounds[level] = reply["skip"]["flop_bound"]
            print(f"{case:3} {level:10} {'+' if found[level][-1] else '-'} {' '.join(answer.split())[:90]}", flush=True)
    title = f"{a.cases} facts in {a.tokens:,} tokens"
    print(f"\n{title:26}{'found':>12}{'of what dense finds':>28}{'FLOP bound':>13}")
    for level in levels:
        both = sum(mine and dense for mine, dense in zip(found[level], found["off"]))
        print(f"{level:26}{sum(found[level]):>12}{both:>22} of {sum(found['off']):>2}{bounds[level]:>12.2f}x")


if __name__ == "__main__":
    main()
