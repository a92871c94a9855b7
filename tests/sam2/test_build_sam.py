import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sam2 import build_sam
from sam2.build_sam import (
    CONFIGS,
    HF_MODEL_ID_TO_FILENAMES,
    MissingConfigException,
    OverrideError,
    _hf_download,
    _load_checkpoint,
    build_sam2,
    build_sam2_hf,
    build_sam2_video_predictor,
)
from sam2.modeling.sam2_base import NO_OBJ_SCORE, SAM2Base, Settings

EXTRA = "sam_mask_decoder_extra_args.dynamic_multimask"


def small(*overrides: str, post: bool = True) -> SAM2Base:
    """A model of which only the settings matter, so its weights take no room."""
    with torch.device("meta"):
        return build_sam2(
            "sam2.1-tiny", None, "meta", "eval", list(overrides), apply_postprocessing=post
        )


# ---- names


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ("configs/sam2.1/sam2.1_hiera_l.yaml", "sam2.1-large"),
        ("configs/sam2.1/sam2.1_hiera_b+", "sam2.1-base-plus"),
        ("configs/sam2/sam2_hiera_t.yaml", "sam2-tiny"),
        ("sam2_hiera_s.yaml", "sam2-small"),
        ("sam2_hiera_b+", "sam2-base-plus"),
        ("sam2.1-tiny", "sam2.1-tiny"),
    ],
)
def test_a_published_config_name_stands_for_its_model(config: str, name: str) -> None:
    with torch.device("meta"):
        assert build_sam2(config, device="meta").config.name == name


@pytest.mark.parametrize("config", ["sam2.1_hiera_l.yaml", "sam2_hiera_x.yaml", "configs/sam2"])
def test_an_unknown_config_name_lists_those_that_exist(config: str) -> None:
    with pytest.raises(MissingConfigException, match=r"configs/sam2\.1/sam2\.1_hiera_l\.yaml"):
        build_sam2(config, device="cpu")
    assert issubclass(MissingConfigException, OSError)


def test_a_config_file_of_the_users_is_refused_with_what_to_do() -> None:
    with pytest.raises(MissingConfigException, match="hydra_overrides_extra"):
        build_sam2("//home/me/model.yaml", device="cpu")


def test_every_published_id_has_a_config_and_a_file() -> None:
    assert len(HF_MODEL_ID_TO_FILENAMES) == 8
    assert HF_MODEL_ID_TO_FILENAMES["facebook/sam2.1-hiera-base-plus"] == (
        "configs/sam2.1/sam2.1_hiera_b+.yaml",
        "sam2.1_hiera_base_plus.pt",
    )
    assert all(c.removesuffix(".yaml") in CONFIGS for c, _ in HF_MODEL_ID_TO_FILENAMES.values())


# ---- checkpoints


def test_a_checkpoint_is_loaded_from_the_published_layout(tmp_path: Path) -> None:
    saved = build_sam2("nano", device="cpu")
    torch.save({"model": saved.state_dict()}, tmp_path / "nano.pt")

    loaded = build_sam2("nano", str(tmp_path / "nano.pt"), "cpu")

    assert all(torch.equal(v, saved.state_dict()[k]) for k, v in loaded.state_dict().items())


def test_a_checkpoint_of_another_model_is_a_runtime_error(tmp_path: Path) -> None:
    torch.save({"model": {"no_mem_embed": torch.zeros(1, 1, 256)}}, tmp_path / "other.pt")
    model = build_sam2("nano", device="cpu")

    with pytest.raises(RuntimeError, match="not a 'nano' checkpoint"):
        _load_checkpoint(model, tmp_path / "other.pt")


def test_a_checkpoint_that_is_not_there_is_a_file_not_found_error() -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint nowhere\.pt"):
        build_sam2("nano", "nowhere.pt", "cpu")


def test_from_an_id_the_file_is_downloaded_and_keywords_reach_the_builder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"model": build_sam2("nano", device="cpu").state_dict()}, tmp_path / "nano.pt")
    asked = []

    def download(repo_id: str, filename: str) -> str:
        asked.append((repo_id, filename))
        return str(tmp_path / filename)

    hub = SimpleNamespace(hf_hub_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(HF_MODEL_ID_TO_FILENAMES, "facebook/nano", ("nano", "nano.pt"))

    model = build_sam2_hf("facebook/nano", device="cpu", mode="train", token="unknown keyword")

    assert asked == [("facebook/nano", "nano.pt")]
    assert model.training


def test_an_unknown_id_is_a_key_error() -> None:
    with pytest.raises(KeyError, match=r"facebook/sam2\.1-hiera-tiny"):
        _hf_download("facebook/sam3")


def test_without_the_hub_the_error_says_which_file_to_fetch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)

    with pytest.raises(ImportError, match=r"sam2_hiera_tiny\.pt"):
        _hf_download("facebook/sam2-hiera-tiny")


# ---- device and mode


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_default_device_is_cuda_and_its_absence_is_told() -> None:
    with pytest.raises(RuntimeError, match="device='cpu'"):
        build_sam2("nano")


def test_any_mode_but_eval_leaves_the_model_training() -> None:
    assert not build_sam2("nano", device="cpu").training
    assert build_sam2("nano", device="cpu", mode="train").training


def test_unknown_keywords_have_no_effect() -> None:
    model = build_sam2("nano", device="cpu", fill_hole_area=99, token="abc")

    assert model.fill_hole_area == 0


# ---- settings


def test_postprocessing_switches_the_stability_fallback() -> None:
    assert small().config.stability_threshold == 0.98
    assert small(post=False).config.stability_threshold == 0.0


def test_postprocessing_wins_over_the_users_overrides() -> None:
    overrides = (f"++model.{EXTRA}_stability_thresh=0.5", f"++model.{EXTRA}_via_stability=true")

    assert small(*overrides).config.stability_threshold == 0.98
    assert small(*overrides, post=False).config.stability_threshold == 0.5


def test_overrides_reach_the_model() -> None:
    model = small(
        "++model.image_size=512",
        "+model.non_overlap_masks=true",
        "model.fill_hole_area=3",
        "++model.add_all_frames_to_correct_as_cond=True",
        "++model.max_cond_frames_in_attn=4",
        "++model.max_obj_ptrs_in_encoder=8",
    )

    assert model.image_size == model.config.image_size == 512
    assert model.non_overlap_masks is True
    assert model.fill_hole_area == 3
    assert model.add_all_frames_to_correct_as_cond is True
    assert model.max_cond_frames_in_attn == 4
    assert model.max_obj_ptrs_in_encoder == model.config.pointer_span == 8


def test_the_video_predictor_is_also_told_to_trust_prompts_and_fill_holes() -> None:
    with torch.device("meta"):
        polished = build_sam2_video_predictor("sam2.1-tiny", device="meta")
        plain = build_sam2_video_predictor("sam2.1-tiny", device="meta", apply_postprocessing=False)

    assert (polished.fill_hole_area, polished.binarize_mask_from_pts_for_mem_enc) == (8, True)
    assert (plain.fill_hole_area, plain.binarize_mask_from_pts_for_mem_enc) == (0, False)


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("++model.image_sise=512", "no setting model.image_sise. Known are: .*image_size"),
        ("++model.image_size=500", "multiple of 32"),
        ("++model.image_size=big", "type int"),
        ("++model.fill_hole_area=true", "type int"),
        ("image_size=512", r"\+\+model.NAME=VALUE"),
        ("++model.pred_obj_scores=false", "always True"),
        ("++model.multimask_output_for_tracking=false", "always True"),
        ("++model.clear_non_cond_mem_around_input=true", "always False"),
        ("++model._target_=my.forks.Predictor", r"MyClass\(model.config\)"),
    ],
)
def test_what_cannot_be_applied_is_refused_by_name(override: str, why: str) -> None:
    with pytest.raises(OverrideError, match=why):
        small(override)


def test_naming_what_is_built_in_is_allowed() -> None:
    named = small(
        "++model.pred_obj_scores=true", "++model._target_=sam2.modeling.sam2_base.SAM2Base"
    )

    assert type(named) is SAM2Base
    assert named.config == small().config


def test_the_list_of_overrides_is_left_alone() -> None:
    overrides = ["++model.image_size=128"]

    with torch.device("meta"):
        build_sam2("sam2.1-tiny", device="meta", hydra_overrides_extra=overrides)

    assert overrides == ["++model.image_size=128"]


def test_settings_may_be_changed_on_the_built_model() -> None:
    model = build_sam2("nano", device="cpu")
    model.max_obj_ptrs_in_encoder = 4
    model.num_maskmem = 3

    assert (model.config.pointer_span, model.config.memory_span) == (4, 2)
    with pytest.raises(ValueError, match="1 to 7 memories"):
        model.num_maskmem = 9


def test_the_published_attributes_are_there() -> None:
    with torch.device("meta"):
        model = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", device="meta")

    assert (model.image_size, model.hidden_dim, model.mem_dim) == (1024, 256, 64)
    assert (model.num_maskmem, model.max_obj_ptrs_in_encoder) == (7, 16)
    assert (model.num_feature_levels, model.max_cond_frames_in_attn) == (3, -1)
    assert model.no_mem_embed.shape == (1, 1, 256)
    assert NO_OBJ_SCORE == -1024.0
    assert Settings().binarize_mask_from_pts_for_mem_enc


# ---- import


def test_importing_the_builder_does_not_import_the_video_predictor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sam2.sam2_video_predictor", None)
    spec = importlib.util.spec_from_file_location("fresh_build_sam", build_sam.__file__)
    assert spec
    assert spec.loader

    spec.loader.exec_module(importlib.util.module_from_spec(spec))  # fails if it imports that
