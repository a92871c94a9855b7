"""Settings: where they come from, and how wrong ones are told."""

from pathlib import Path

import pytest

from pipeline.config import (
    ClusterConfig,
    ConfigError,
    RunConfig,
    StorageConfig,
    cores,
    load_config,
    load_settings,
)
from pipeline.training.config import Stage, TrainConfig

ROOT = Path(__file__).parents[2]


def test_a_setting_overrides_the_file_and_the_file_the_default(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("model: sam2.1-tiny\nmax_batch: 4\ncluster:\n  actors: 3\n")

    config = load_config(file, ["max_batch=8", "cluster.threads=2"], {"checkpoint": "x.pt"})

    assert (config.model, config.max_batch, config.checkpoint) == ("sam2.1-tiny", 8, "x.pt")
    assert (config.cluster.actors, config.cluster.threads) == (3, 2)


def test_threads_suit_the_model_unless_they_are_set() -> None:
    suitable = min(4, cores())

    assert load_config().threads == 1
    assert load_config(settings=["model=sam2.1-tiny"]).threads == suitable
    assert load_config(settings=["cluster.threads=3"]).threads == 3


def test_an_option_that_is_not_given_changes_nothing() -> None:
    assert load_config(overrides={"model": None}) == RunConfig()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("modle=nano", "did you mean 'model'"),
        ("actors=2", "did you mean 'cluster.actors'"),
        (
            "cluster.actor=2",
            r"cluster\.actor: unknown key; did you mean 'actors'\? Known here: actors,",
        ),
        ("max_batch=0", "max_batch"),
        ("max_batch=many", "max_batch"),
        ("max_batch", "key=value"),
        ("model.x=1", "model"),
        ("device=gpu", "device.*not 'gpu'"),
        ("checkpoint=[", "checkpoint.*no YAML"),
        ("checkpoint=2026-13-45", "checkpoint.*no YAML"),
        ("checkpoint=@x", "checkpoint.*no YAML"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(settings=["model=nano", setting])


def test_what_looks_like_a_date_is_a_name() -> None:
    assert load_config(settings=["checkpoint=2026-11-28"]).checkpoint == "2026-11-28"


@pytest.mark.parametrize("text", ["3e-4", "0.0003", "3.0e-4", "3E-4"])
def test_a_number_may_be_written_as_people_do(text: str) -> None:
    tuned = ROOT / "configs" / "train" / "finetune.yaml"

    assert load_settings(TrainConfig, tuned, [f"learning_rate={text}"]).learning_rate == 3e-4


def test_a_place_in_a_list_can_be_set_by_its_number() -> None:
    tuned = ROOT / "configs" / "train" / "finetune.yaml"

    config = load_settings(
        TrainConfig, tuned, ["sources.0.masklets=elsewhere", "sources.1.share=1"]
    )

    assert [source.masklets for source in config.sources] == ["elsewhere", None]
    assert config.sources[1].share == 1
    for wrong in ("sources.2.share=1", "sources.first.share=1"):
        with pytest.raises(ConfigError, match=r"sources\..*place in a list of 2"):
            load_settings(TrainConfig, tuned, [wrong])


def test_an_unknown_key_in_a_list_names_those_of_its_part() -> None:
    tuned = ROOT / "configs" / "train" / "finetune.yaml"

    with pytest.raises(ConfigError) as caught:
        load_settings(TrainConfig, tuned, ["stages.0.step=3", "sources.0.shares=1"])

    stage, source = str(caught.value).splitlines()
    assert stage.startswith("setting stages[0].step: unknown key; did you mean 'steps'?")
    assert stage.endswith("Known here: " + ", ".join(Stage.model_fields))
    assert "sources[0].shares: unknown key; did you mean 'share'?" in source


def test_a_file_that_is_no_yaml_or_no_settings_is_named(tmp_path: Path) -> None:
    broken, listed = tmp_path / "broken.yaml", tmp_path / "list.yaml"
    broken.write_text("model: [")
    listed.write_text("- nano\n")

    for file in (broken, listed, tmp_path / "missing.yaml"):
        with pytest.raises(ConfigError, match=str(file)):
            load_config(file)


def test_the_file_of_all_settings_holds_the_defaults() -> None:
    file = ROOT / "configs" / "run" / "default.yaml"

    assert load_config(file) == RunConfig()
    for part in (RunConfig, ClusterConfig, StorageConfig):
        for name in part.model_fields:
            assert f"{name}:" in file.read_text(), name
