"""How good is a model? Scores beside baselines, on objects made for it: `python examples/5_evaluate.py [MODEL]`.

Needs the extra `data`, which renders: `pip install 'zero123[data]'`.
"""

import sys
from pathlib import Path

from zero123 import NovelViews, SamplingSettings
from zero123.data.render.batch import render_all
from zero123.data.render.settings import CameraSettings, RenderSettings
from zero123.data.render.source import Source
from zero123.evaluation import benchmark
from zero123.evaluation.cases import Cases
from zero123.evaluation.methods import OfModel
from zero123.evaluation.protocols import Protocol
from zero123.evaluation.tables import score_table

FIRST = 950_000_000  # seeds that no training run of this project has used


def main(model: str | Path = "mini", out: str | Path = "out/5_evaluate", objects: int = 6, targets: int = 4) -> None:
    """Views of made objects, and scores, tables and a report of the model, written to `out`."""
    out = Path(out)
    views = NovelViews.from_pretrained(model)
    size = views.model.settings.image_size

    # Objects nobody has seen: made from seeds and rendered. Folders of your own views do as well.
    sources = [Source(f"object-{seed}", seed=seed) for seed in range(FIRST, FIRST + objects)]
    rendering = RenderSettings(CameraSettings(views=1 + targets), size=size)
    failed = [why for _, why in render_all(sources, out / "views", rendering) if why]
    if failed:
        raise SystemExit("\n".join(failed))

    # View 0 of each object goes in, the others are asked for. Settings and seed are part of the result.
    asked = Protocol("own views", tuple(range(1, targets + 1)), size=size)
    cases = Cases(out / "views", asked)
    results = benchmark.run(asked, cases, OfModel(views, SamplingSettings(seed=0)), out / "scores", samples=1)

    # A score means little without what scores for nothing: copying the input, its mean colour, a white picture.
    for group in results.groups:
        print(score_table(group).markdown())
    benchmark.write_simple(results, cases, out / "scores")
    print(f"{out}/scores/report.html shows the worst views first")


if __name__ == "__main__":
    main(*sys.argv[1:])
