#!/usr/bin/env python3
"""Reads every #include of the tree against the picture of the rooms: who may know whom, and which libraries stay where."""
import pathlib
import re
import sys

MAY_INCLUDE = {
    "proto": set(),
    "kernels": set(),
    "scheduler": set(),
    "engine": {"scheduler", "kernels"},
    "server": {"engine", "scheduler", "kernels", "proto"},
    "tests": {"engine", "scheduler", "kernels", "proto", "server", "tests"},
}
# Header prefix -> the only place that may include it (tests may too).
ONLY_IN = {
    "grpc": "server/", "google/protobuf": "server/", "boost/": "server/", "skipserve/v1/": "server/",
    "prometheus/": "server/", "cuda": "kernels/cuda/", "cublas": "kernels/cuda/",
    "oneapi/dnnl": "kernels/cpu/", "dnnl": "kernels/cpu/", "hwy/": "kernels/cpu/",
    "Eigen/": "engine/skip/", "oniguruma": "engine/", "unicode/": "engine/",
}
# The engine is a dense server with its skipping module gone: below the step loop, only these know of it.
SKIP_FREE = ["engine/decoder", "engine/rope", "engine/tokenizer", "engine/model_", "engine/gguf", "engine/hf_",
             "engine/chat_template", "engine/stop_matcher"]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def offences(path):
    room = path.split("/")[0]
    for number, line in enumerate(open(path, errors="replace"), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, header = match.groups()
        target = header.split("/")[0]
        if quote == '"' and target in MAY_INCLUDE and target != room and target not in MAY_INCLUDE[room]:
            yield f"{path}:{number}: {room} must not include {header}"
        for prefix, place in ONLY_IN.items():
            if header.startswith(prefix) and not path.startswith((place, "tests/")):
                yield f"{path}:{number}: {header} belongs in {place} alone"
        if header.startswith("engine/skip/") and path.startswith(tuple(SKIP_FREE)):
            yield f"{path}:{number}: the dense engine must not include {header}"


def main():
    files = [str(p) for room in MAY_INCLUDE for p in pathlib.Path(room).rglob("*")
             if p.suffix in {".h", ".cc", ".cu", ".cuh"}]
    found = [o for path in files for o in offences(path)]
    print("\n".join(found) or f"{len(files)} files keep to their rooms")
    return 1 if found or len(files) < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
