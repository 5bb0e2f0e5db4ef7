#!/usr/bin/env bash
# Benchmarks of the literature, one line each:
#   bash eval.sh charades|youcook2|qvhighlights CKPT [key=value ...]    key=value are config overrides
#   bash eval.sh all CKPT [key=value ...]                               all three, then one joint table
#   bash eval.sh quickstart [CKPT]                                      the tiny model of `make quickstart`
# The variables below can be set in the environment, and so can ANNO and VIDEOS for a single benchmark, OUTPUT (one
# folder below it for each benchmark) and EVAL_ARGS (more arguments of evaluate.py, such as "--limit 100").
set -euo pipefail

PYTHON=${PYTHON:-python}
NPROC=${NPROC:-1}                      # processes; above 1 through torchrun
DATA_DIR=${DATA_DIR:-data}
EVAL_ARGS=${EVAL_ARGS:-}
QUICKSTART_DATA=${QUICKSTART_DATA:-data/quickstart}
QUICKSTART_RUN=${QUICKSTART_RUN:-runs/quickstart}

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CHECKING=yes MISSING=() FOLDERS=()

usage() {
  sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# evaluate NAME ANNO VIDEOS [ARG ...]: the first round only notes what is missing.
evaluate() {
  local name=$1 anno=$2 videos=$3 launch=("$PYTHON")
  shift 3
  if [[ $CHECKING == yes ]]; then
    [[ -f $anno ]] || MISSING+=("annotations of $name: $anno")
    [[ -d $videos ]] || MISSING+=("videos of $name: $videos/")
    return
  fi
  [[ $NPROC -le 1 ]] || launch=("$PYTHON" -m torch.distributed.run --standalone --nproc_per_node="$NPROC")
  # shellcheck disable=SC2086 # EVAL_ARGS is a list of words
  "${launch[@]}" "$HERE/evaluate.py" --cfg-path "$CFG" --ckpt "$CKPT" --benchmark "$name" --anno-path "$anno" \
    --videos-dir "$videos" --output-dir "$OUTPUT/$name" $EVAL_ARGS "$@"
  FOLDERS+=("$OUTPUT/$name")
}

charades() { evaluate charades_sta "${ANNO:-$DATA_DIR/charades/charades_sta_test.txt}" "${VIDEOS:-$DATA_DIR/charades/videos}" "$@"; }
youcook2() { evaluate youcook2 "${ANNO:-$DATA_DIR/youcook2/youcookii_annotations_trainval.json}" "${VIDEOS:-$DATA_DIR/youcook2/videos}" "$@"; }
qvhighlights() { evaluate qvhighlights "${ANNO:-$DATA_DIR/qvhighlights/highlight_val_release.jsonl}" "${VIDEOS:-$DATA_DIR/qvhighlights/videos}" "$@"; }

all() { charades "$@"; youcook2 "$@"; qvhighlights "$@"; }

# A model trained from nothing on a few instructions knows these alone, so it is asked with one of them.
quickstart() {
  local videos=$QUICKSTART_DATA/videos/test prompts=$HERE/prompts/quickstart
  evaluate charades_sta "$QUICKSTART_DATA/test/charades_sta.txt" "$videos" \
    --prompt-file "$prompts/grounding.txt" --max-new-tokens 48 "$@"
  evaluate youcook2 "$QUICKSTART_DATA/test/dense_captions.json" "$videos" \
    --prompt-file "$prompts/dense_captioning.txt" --max-new-tokens 128 "$@"
  evaluate qvhighlights "$QUICKSTART_DATA/test/highlights.jsonl" "$videos" \
    --prompt-file "$prompts/highlights.txt" --max-new-tokens 256 --clip-of-time start "$@"
}

last_checkpoint() {
  { find "$QUICKSTART_RUN" -maxdepth 1 -name 'checkpoint_*.pth' 2>/dev/null || true; } | sort -V | tail -n 1
}

# What a checkpoint's answers are kept under: its run and its name.
answers_of() { echo "runs/eval/$(basename "$(dirname "$1")")/$(basename "$1" .pth)"; }

WHAT=${1:-}
case $WHAT in
  charades | youcook2 | qvhighlights | all)
    [[ $# -ge 2 ]] || usage
    CKPT=$2 CFG=${CFG:-$HERE/eval_configs/timechat.yaml}
    OUTPUT=${OUTPUT:-$(answers_of "$CKPT")}
    shift 2
    ;;
  quickstart)
    CKPT=${2:-$(last_checkpoint)} CFG=${CFG:-$HERE/eval_configs/quickstart.yaml}
    CKPT=${CKPT:-$QUICKSTART_RUN/checkpoint_0.pth}
    OUTPUT=${OUTPUT:-$QUICKSTART_RUN/eval}
    shift "$(($# < 2 ? $# : 2))"
    ;;
  *) usage ;;
esac
if [[ ($WHAT == all || $WHAT == quickstart) && -n ${ANNO:-}${VIDEOS:-} ]]; then
  echo "eval.sh: ANNO and VIDEOS name one benchmark's files; set DATA_DIR (or QUICKSTART_DATA) for all of them" >&2
  exit 2
fi

OPTIONS=()
[[ $# -eq 0 ]] || OPTIONS=(--options "$@")
[[ -f $CFG ]] || MISSING+=("config: $CFG")
[[ -f $CKPT ]] || MISSING+=("checkpoint: $CKPT")
"$WHAT"
if [[ ${#MISSING[@]} -gt 0 ]]; then
  printf 'eval.sh: missing files:\n' >&2
  printf '  %s\n' "${MISSING[@]}" >&2
  exit 1
fi
if ! "$PYTHON" -c "import timechat" 2>/dev/null; then
  echo "eval.sh: $PYTHON cannot import timechat; activate its environment (source .venv/bin/activate) or set PYTHON" >&2
  exit 1
fi
CHECKING=no
"$WHAT" ${OPTIONS[@]+"${OPTIONS[@]}"}
case $WHAT in
  all | quickstart) "$PYTHON" -m timechat.evaluation.report "${FOLDERS[@]}" ;;
esac
