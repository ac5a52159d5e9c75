"""What is checked before anything starts: a wrong weights or features file would fail every run that reads it."""

from bench.backbones.description import check_weights, describe
from bench.data.cards import load_card
from bench.data.features import verify_features
from bench.data.splits import Split
from bench.data.task import features_folder
from bench.errors import ENVIRONMENT, BenchError
from bench.plan import Plan


def check_inputs(plan: Plan) -> None:
    """Check the weights of all backbones of a plan's shards, and the features that ship with the suite, by their hashes.

    Features of the user's own extraction can be large; `bench features verify` reads those.

    Raises:
        BenchError: A file is missing or altered; it is named with its hash.
    """
    used = {(run.spec.dataset, run.spec.backbone) for shard in plan.shards for run in shard.runs}
    for backbone in sorted({backbone for _, backbone in used}):
        check_weights(describe(backbone))
    for dataset, backbone in sorted(used):
        if not load_card(dataset).features:
            continue
        for part in Split._fields:
            problems = verify_features(features_folder(dataset, backbone) / part)
            if problems:
                raise BenchError(
                    f"features of '{dataset}': {problems[0]}", "Install the suite again, or check the file out.", ENVIRONMENT
                )
