"""What the manual's pages say can be typed can be typed, and what they say exists exists."""

import importlib
import re
import shlex
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

import pytest

from zero123.cli import _UsageError
from zero123.cli.options import RunOptions, SamplingOptions
from zero123.cli.score import MethodOptions
from zero123.cli.train_options import SettingsOptions
from zero123.models.view_settings import ViewModelSettings
from zero123.training.settings import changed

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *(ROOT / f"{n}.md" for n in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG"))]
ORIGINAL = """
--base --gpus --scale_lr --num_nodes --seed --check_val_every_n_epoch --finetune_from
--scene --index --n_steps --lr --sd.scale --emptiness_weight --depth_smooth_weight --near_view_weight --train_view
--prefix --vox.blend_bg_texture --nerf_path
family sd.variant sd.v2_highres sd.prompt sd.im_path sd.precision
vox.model_type vox.bbox_len vox.grid_size vox.step_ratio vox.density_shift vox.ray_march_weight_thres vox.c
vox.bg_texture_hw pose.rend_hw pose.FoV pose.R pose.up
emptiness_scale emptiness_step emptiness_multiplier grad_accum depth_weight var_red view_weight
main.py gradio_new.py run_zero123.py distributed.py requirements.txt 105000.ckpt sd-image-conditioned-v2.ckpt
"""
"""Every command and flag of the original's README, and every key of its 3drec configuration."""


def commands(text):
    """What a page says can be typed, (words after `zero123`): lines of its code, and code within its sentences."""
    blocks = re.findall(r"(?ms)^ *```[^\n]*\n(.*?)^ *```", text)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^ *```.*?^ *```", "", text))
    for line in [*lines, *inline]:
        found = re.match(r"\s*(?:\.venv/bin/)?zero123 ([^#]+)", line)
        if found and "$" not in line:
            yield shlex.split(found[1].replace("...", " "))


def verb_of(words, program):
    """The verb that words begin with, and the words after it; (None, words) where they name none."""
    for count in (2, 1):
        if (name := " ".join(["zero123", *words[:count]])) in program:
            return name, words[count:]
    return None, words


def refused(command, words):
    """Why the program would not take these words, or None; arguments and folders that are left out are put there."""
    needed = [parameter for parameter in command.params if parameter.required]
    if not words or words[0].startswith("-"):
        words = [*(["X"] * sum(p.param_type_name == "argument" for p in needed)), *words]
    for option in needed:
        if option.param_type_name == "option" and not set(option.opts) & set(words):
            words = [*words, option.opts[-1], "X"]
    try:
        command.make_context("zero123", list(words))
    except _UsageError as error:
        return error.format_message()
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_on_a_page_is_one_the_program_takes(page, program):
    text = page.read_text(encoding="utf-8")
    for words in commands(text):
        name, rest = verb_of(words, program)
        if name is None:
            group = f"zero123 {words[0]}"
            known = words[0].startswith("-") or words[0].isupper() or any(n.startswith(f"{group} ") for n in program)
            assert known, f"{page.name}: {group}"
            continue
        flags = {o for p in program[name].params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        given = {w.partition("=")[0] for w in rest if re.match(r"--?[a-z]", w)}
        assert given <= flags, f"{page.name}: {name} {given - flags}"
        if "--help" not in rest and not {"OPTIONS", "[OPTIONS]"} & set(rest):
            assert_settings(name, rest)


def assert_settings(name, words):
    """Each NAME=VALUE of `--set` is a setting with a value it can have."""
    given = [value for flag, value in pairwise(words) if flag == "--set" and "=" in value]
    method = words[words.index("--method") + 1] if "--method" in words else "sjc"
    for value in given:
        if name == "zero123 train":
            options = SettingsOptions("original", change=[value])
            options.settings()
            changed(ViewModelSettings(), options.model_changes)
        else:
            MethodOptions(method, change=[value]).settings(SamplingOptions(), RunOptions())


def table_rows():
    """Rows of the migration tables: (verb at the head of the column, the original's cell, our cell)."""
    verb = ""
    for line in (DOCS / "from-the-original.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != 3 or set(line) <= set("|- "):
            continue
        if cells[0] == "original":
            verb = cells[1].strip("`")
        else:
            yield verb, *cells[:2]


@pytest.mark.parametrize("row", list(table_rows()), ids=lambda row: row[1][:40])
def test_every_option_of_the_migration_table_is_accepted_with_its_value(row, program):
    verb, _, ours = row
    for code in re.findall(r"`([^`]+)`", ours):
        words = shlex.split(code)
        if words[0].startswith("-"):
            words = [*verb.split(), *words]
        if words[0] != "zero123":
            assert words[0] in ("zero123", "pip", "torchrun"), code
            continue
        name, rest = verb_of(words[1:], program)
        assert name, code
        assert refused(program[name], rest) is None, (code, refused(program[name], rest))
        assert_settings(name, rest)


@pytest.mark.parametrize("name", ORIGINAL.split())
def test_every_command_and_flag_of_the_original_has_a_row(name):
    left = " ".join(cell for _, cell, _ in table_rows())
    assert re.search(rf"(?<![\w.]){re.escape(name)}(?![\w])", left)


def test_a_command_that_is_wrong_would_be_noticed(program):
    assert refused(program["zero123 views"], ["--azimut", "3"])
    assert refused(program["zero123 views"], ["--samples", "many"])
    with pytest.raises(ValueError, match="no setting"):
        assert_settings("zero123 train", ["--set", "learning_rat=1"])
    with pytest.raises(ValueError, match="no setting"):
        assert_settings("zero123 reconstruct", ["--set", "voxels=1"])


def test_every_function_named_beside_an_equation_exists():
    text = (DOCS / "equations.md").read_text(encoding="utf-8")
    names = re.findall(r"`(zero123\.[\w.]+)`", text)
    assert len(names) > 60
    for name in names:
        parts = name.split(".")
        for count in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:count]))
            except ModuleNotFoundError:
                continue
            break
        for part in parts[count:]:
            found = getattr(found, part)  # AttributeError names what is gone


def test_every_paper_the_code_cites_is_on_the_page_of_equations():
    text = (DOCS / "equations.md").read_text(encoding="utf-8")
    cited = {
        number: path.name
        for path in (ROOT / "src").rglob("*.py")
        for number in re.findall(r"arXiv:\s*(\d{4}\.\d{5})", path.read_text(encoding="utf-8"))
    }
    assert len(cited) > 30
    assert not {number: file for number, file in cited.items() if number not in text}


def test_the_changelog_has_the_version_of_the_package():
    import zero123

    assert f"## [{zero123.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_tree_in_the_readme_names_every_module_once():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text.split("## Where things are")[1].split("```")[1].split("\ntests/")[0]
    folders, named = [], []
    for line in tree.strip().splitlines()[1:]:
        depth = (len(line) - len(line.lstrip())) // 2 - 1
        words = re.match(r"(\S+(?: \S+\.py)*)", line.strip())[1].split()
        if words[0].endswith("/"):
            folders = [*folders[:depth], words[0]]
        named += ["".join(folders[:depth]) + word for word in words if word.endswith(".py")]
    source = ROOT / "src" / "zero123"
    there = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    assert sorted(name for name in set(named) if named.count(name) > 1) == []
    assert sorted(set(named) - there) == []
    assert sorted(name for name in there - set(named) if "__" not in name) == []


def test_every_picture_of_the_manual_is_said_to_be_made_by_a_script_that_is_here():
    pictures = {path.name for path in (DOCS / "pictures").iterdir()}
    rows = re.findall(r"(?m)^\| (`[^|]+) \| (.+) \|$", (DOCS / "figures" / "README.md").read_text(encoding="utf-8"))
    said = {}
    for names, made_by in rows:
        for pattern in re.findall(r"`([^`]+)`", names):
            found = {name for name in pictures if fnmatch(name, pattern)}
            assert found, f"{pattern}: no such picture"
            said |= dict.fromkeys(found, made_by)
    assert said.keys() == pictures
    for script in re.findall(r"python (\S+\.py)", " ".join(said.values())):
        assert (ROOT / script).is_file()
