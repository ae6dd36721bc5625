"""What `--help` shows of each command at its end: commands that work as they stand, and what they do."""

from __future__ import annotations

from benchmark.utils.project import program

HEAD = "Examples:"

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("run --all", "every method on the embedded world, no file and no network needed"),
        ("leaderboard --reference", "the records that come with the project"),
        ("list methods", "what there is; also datasets, models, suites, measures"),
        ("check my_method.py", "does your method keep the contract?"),
    ),
    "run": (
        ("run --all", "suite quick; stop and start it as you like"),
        ("run --methods ccup,lip --seeds 0", "two methods, one seed"),
        ("run --suite cifar100 --data-dir data", "real images"),
        ("run --model ViT-B-32/openai --suite cifar100 --data-dir data", "any open_clip model and weights"),
        ("run --plugin my_method.py --methods my_method,original", "your method beside doing nothing"),
        ("run --methods ccup --set ccup.forget_weight=30", "another hyperparameter: a row of its own"),
        ("run --tuned", "with the values that `tune` found, on boards of their own"),
        ("run --methods ccup --save-weights", "keep what was unlearned, for export"),
        ("run --shard 1/4", "a quarter of the cells, for a job array"),
        ("run --suite paper-lip --data-dir data --device cuda --devices 4", "each cell over four GPUs"),
        ("run --executor ray --gpus-per-cell 0.5 --device cuda", "two cells on each GPU of this machine"),
        ("run --executor ray --address auto", "on the Ray cluster that this machine belongs to"),
        ("run --all --wandb offline", "Weights & Biases without an account"),
    ),
    "unlearn": (
        (
            "unlearn --model shapes-vit --method ccup --classes star --data shapes --measures linear_probe --out out",
            "measured before and after, and what a probe brings back",
        ),
        (
            "unlearn --model ViT-B-32/openai --method ccup --classes 'red panda' --out my-clip",
            "from the name alone: nothing is measured",
        ),
        (
            "unlearn --model ViT-B-32:FILE --method lip --classes cat --data folder:pets --data-dir data --out my-clip",
            "your model and your images",
        ),
    ),
    "audit": (
        (
            "audit --model mini --unlearned their.pt --name my_method --suite cifar100 --classes apple --data-dir data",
            "your own training code",
        ),
    ),
    "plan": (
        ("plan", "what suite quick has done and how long the rest takes"),
        ("plan --suite cifar100 --data-dir data", "the same of real images"),
    ),
    "leaderboard": (
        ("leaderboard", "your records"),
        ("leaderboard --suite quick --format markdown", "one suite, to paste"),
        ("leaderboard --reference", "the records that come with the project"),
        ("leaderboard --reference --compare lip cliperase", "are two methods different?"),
    ),
    "report": (
        ("report", "your records and the project's, as one page"),
        ("report --reference --out page.html", "those of the project alone"),
        ("report --suite quick --figures figures", "one suite, and SVG and PDF files for a paper"),
    ),
    "tune": (
        ("tune ccup", "one method, 24 trials a kind of request, kept for `run --tuned`"),
        ("tune --all --jobs 2", "every ranked method, two trials at once: hours"),
        ("tune ccup --trials 40 --out my_values.yaml", "a search of your own, for `run --tuned-values`"),
    ),
    "tables": (("tables lip", "Lip's tables"), ("tables cliperase --format markdown", "CLIPErase's, to paste")),
    "list": (
        ("list methods", "what each reads and edits, and its defaults"),
        ("list measures", "what each column means"),
        ("list methods --plugin my_method.py", "yours among them"),
    ),
    "verify": (
        ("verify 3f2a9c", "the record whose key begins so"),
        ("verify results/runs/quick/KEY.json", "a record's file"),
        ("verify --reference --sample 10", "ten of the reference records, drawn at random"),
    ),
    "export": (
        ("export 3f2a9c my-clip", "a folder that open_clip loads, with a model card"),
        ("export results/runs/cifar100/KEY.json my-clip --data-dir data", "a record's file, of real images"),
    ),
    "measure": (
        ("measure confusion_audit", "from what is kept beside the records"),
        ("measure linear_probe --suite quick", "unlearns again"),
    ),
    "pack": (
        ("pack quick --out .", "quick.jsonl.gz, to send to somebody"),
        ("pack quick --add", "your records among the reference records of this checkout"),
    ),
    "generate": (
        ("generate 3f2a9c --pipeline pipelines/stable-diffusion-v1-4 --device cuda", "fifty images, before and after"),
    ),
    "check": (("check my_method.py", "clause by clause, on the small CLIPs"),),
    "pretrain": (
        ("pretrain shapes-resnet", "some minutes"),
        ("pretrain micro --data-dir data", "a quarter of an hour on two cores"),
        ("pretrain micro --data-dir data --exclude apple,bus", "without them in any data set"),
        ("pretrain shapes-vit --exclude '{shapes: {classes: [star]}}'", "a model that never saw a star"),
    ),
    "download": (("download cifar100 --data-dir data", "verified on arrival"),),
    "speed": (
        ("speed", "ratios on this machine, some minutes"),
        ("speed --data-dir data --json speed.json", "with real images, and as a file"),
        ("speed --only ceiling,encoding", "two measurements"),
    ),
}


def examples(command: str) -> str:
    """The lines that `--help` ends with.

    Args:
        command: A command, or "" for the program itself.
    """
    lines = (f"  # {what}\n  {program()} {line}" for line, what in EXAMPLES[command])
    return "\n".join((HEAD, *lines))
