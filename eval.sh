#!/usr/bin/env bash
# Benchmarks of the literature, one line each:
#   bash eval.sh charades|activitynet_grounding|youcook2|activitynet_captions|qvhighlights CKPT [key=value ...]
#   bash eval.sh mvbench|tempcompass|egoschema|video_mme|mlvu|longvideobench|etbench|tvsum|summe CKPT [key=value ...]
#   bash eval.sh charades_timelens|activitynet_timelens|qvhighlights_timelens|tacos|ego4d_nlq CKPT
#   bash eval.sh nextgqa|rextime|charades_con|activitynet_con CKPT [key=value ...]
#   bash eval.sh all CKPT [key=value ...]    all of them, then one joint table; key=value are config overrides
#   bash eval.sh quickstart [CKPT]           the tiny model of `make quickstart`
#   bash eval.sh score NAME FILE [ARG ...]   answers of any model to one of these benchmarks; ARG of `timechat score`
# The variables below can be set in the environment, and so can ANNO and VIDEOS for a single benchmark, OUTPUT (one
# folder below it for each benchmark) and EVAL_ARGS (more arguments of evaluate.py, such as "--limit 100").
set -euo pipefail

PYTHON=${PYTHON:-python}
NPROC=${NPROC:-1}                      # processes; above 1 through torchrun
DATA_DIR=${DATA_DIR:-data}
EVAL_ARGS=${EVAL_ARGS:-}
QUICKSTART_DATA=${QUICKSTART_DATA:-data/quickstart}
QUICKSTART_RUN=${QUICKSTART_RUN:-runs/quickstart}

BENCHMARKS=(charades activitynet_grounding youcook2 activitynet_captions qvhighlights
  mvbench tempcompass egoschema video_mme mlvu longvideobench etbench tvsum summe
  charades_timelens activitynet_timelens qvhighlights_timelens tacos ego4d_nlq nextgqa rextime
  charades_con activitynet_con)

# Below DATA_DIR: annotations (a file, or a folder where the download is one) and folder of videos.
paths_of() {
  case $1 in
    charades) echo Charades/charades_annotation/charades_sta_test.txt Charades/videos ;;
    *_con) echo "consistency/${1%_con}_consistency_test.json consistency/videos/${1%_con}" ;;
    *_timelens) echo "TimeLens-Bench/${1%_timelens}-timelens.json TimeLens-Bench/videos/${1%_timelens}" ;;
    activitynet_*) echo Activitynet_Captions/val_2.json Activitynet_Captions/anet_6fps_224 ;;
    youcook2) echo YouCook2-BB/YouCook2_asr_denseCap/youcookii_annotations_trainval.json YouCook2-BB/YouCook2_asr_denseCap/youcook2_6fps_224 ;;
    qvhighlights) echo QVhighlights/annotations_raw/highlight_val_release.jsonl QVhighlights/videos/val ;;
    mvbench) echo mvbench/json mvbench/video ;;
    tempcompass) echo tempcompass/questions tempcompass/videos ;;
    egoschema) echo egoschema egoschema/videos ;;
    video_mme) echo video_mme/video_mme.json video_mme/videos ;;
    mlvu) echo mlvu/json mlvu/video ;;
    longvideobench) echo longvideobench/lvb_val.json longvideobench/videos ;;
    tvsum) echo tvsum/data/ydata-tvsum50-anno.tsv tvsum/video ;;
    summe) echo summe/GT summe/videos ;;
    etbench) echo etbench/annotations/etbench_txt_v1.0.json etbench/videos ;;
    tacos) echo tacos/test.json tacos/videos ;;
    ego4d_nlq) echo ego4d_nlq/annotations/nlq_val.json ego4d_nlq/videos ;;
    nextgqa) echo nextgqa/annotations/test.csv nextgqa/videos ;;
    rextime) echo rextime/rextime_val.json rextime/videos ;;
  esac
}

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CHECKING=yes MISSING=() ASKED=() TOGETHER=() FOLDERS=() FAILED=() OPTIONS=()

usage() {
  sed -n '2,${/^#/!q;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# known NAME [NAME ...]: the first is one of the others, or the nearest of them is named.
known() {
  [[ " ${*:2} " != *" $1 "* ]] || return 0
  local near
  near=$("$PYTHON" -c 'import difflib, sys; print(*difflib.get_close_matches(sys.argv[1], sys.argv[2:], 1))' "$@") || true
  echo "eval.sh: no benchmark '$1'${near:+, did you mean '$near'?}" >&2
  usage
}

# evaluate NAME ANNO VIDEOS [ARG ...]: the first round only notes what is missing. Those of the quick start are launched
# together, because a small model is loaded and asked sooner than Python has started; a large one alone, so that what
# fails does not stop the others.
evaluate() {
  local name=$1 anno=$2 videos=$3
  if [[ $CHECKING == yes ]]; then
    ASKED+=("$name" "$anno" "$videos")
    [[ -e $anno ]] || MISSING+=("annotations of $name: $anno")
    [[ -d $videos ]] || MISSING+=("videos of $name: $videos/")
    return
  fi
  shift 3
  # shellcheck disable=SC2206 # EVAL_ARGS is a list of words
  local arguments=(--benchmark "$name" --anno-path "$anno" --videos-dir "$videos" --output-dir "$OUTPUT/$name" "$@" $EVAL_ARGS)
  if [[ $WHAT == quickstart ]]; then
    TOGETHER+=(--and "${arguments[@]}") FOLDERS+=("$OUTPUT/$name")
  elif launch "$name" "${arguments[@]}" ${OPTIONS[@]+--options "${OPTIONS[@]}"}; then
    FOLDERS+=("$OUTPUT/$name")
  fi
}

# launch NAME ARG ...: evaluate.py; a failure is noted, and a signal ends everything.
launch() {
  local name=$1 status=0 command=("$PYTHON")
  shift
  [[ $NPROC -le 1 ]] || command=("$PYTHON" -m torch.distributed.run --standalone --nproc_per_node="$NPROC")
  "${command[@]}" "$HERE/evaluate.py" --cfg-path "$CFG" --ckpt "$CKPT" "$@" || status=$?
  [[ $status -le 128 ]] || exit "$status"
  [[ $status == 0 ]] || FAILED+=("$name: exit status $status")
  return "$status"
}

# A benchmark of the literature; evaluate.py knows charades by its full name.
literature() {
  local anno videos
  read -r anno videos < <(paths_of "$1")
  evaluate "${1/%charades/charades_sta}" "${ANNO:-$DATA_DIR/$anno}" "${VIDEOS:-$DATA_DIR/$videos}"
}

# score NAME FILE [ARG ...]: pictures are drawn where the videos are there.
score() {
  local name=$1 file=$2 anno videos stem pictures=()
  shift 2
  stem=$(basename "$file")
  read -r anno videos < <(paths_of "$name")
  videos=${VIDEOS:-$DATA_DIR/$videos}
  [[ ! -d $videos ]] || pictures=(--videos-dir "$videos")
  "$PYTHON" -m timechat score --benchmark "${name/%charades/charades_sta}" --predictions "$file" \
    --anno-path "${ANNO:-$DATA_DIR/$anno}" --output-dir "${OUTPUT:-runs/score/${stem%.*}/$name}" \
    ${pictures[@]+"${pictures[@]}"} "$@"
}

# A model trained from nothing on a few instructions knows these alone, so it is asked with one of them.
quickstart() {
  local prompts=$HERE/quickstart/prompts
  rendered charades_sta charades_sta.txt grounding.json --prompt-file "$prompts/grounding.txt" --max-new-tokens 48
  rendered youcook2 dense_captions.json dense_captions.json --prompt-file "$prompts/dense_captioning.txt" --max-new-tokens 128
  rendered qvhighlights highlights.jsonl highlights.jsonl --prompt-file "$prompts/highlights.txt" --max-new-tokens 256 \
    --benchmark-options clip_of_time=start
}

# rendered NAME FILE TRAIN_FILE [ARG ...]: numbers of the literature are about other videos.
rendered() {
  local name=$1 anno=$QUICKSTART_DATA/test/$2 train=$QUICKSTART_DATA/train/$3
  shift 3
  [[ $CHECKING == no || -e $train ]] || MISSING+=("train annotations of $name: $train")
  evaluate "$name" "$anno" "$QUICKSTART_DATA/videos/test" --train-anno "$train" --no-literature "$@"
}

run() {
  local name
  case $WHAT in
    quickstart) quickstart ;;
    all) for name in "${BENCHMARKS[@]}"; do literature "$name"; done ;;
    *) literature "$WHAT" ;;
  esac
}

# What a checkpoint's answers are kept under: its run and its name.
answers_of() { echo "runs/eval/$(basename "$(dirname "$1")")/$(basename "$1" .pth)"; }

WHAT=${1:-}
if [[ $WHAT == score && $# -ge 3 ]]; then
  known "$2" "${BENCHMARKS[@]}"
  score "${@:2}"
  exit
elif [[ $WHAT == quickstart ]]; then
  # The frame encoder is the first stage's, the Q-Formers are the second's, and the decoder is the last one's.
  LAST=${2:-$QUICKSTART_RUN/6_times/checkpoint_0.pth} CFG=${CFG:-$HERE/quickstart/configs/evaluate.yaml}
  CKPT=$QUICKSTART_RUN/2_reading/checkpoint_0.pth
  OUTPUT=${OUTPUT:-$(dirname "$LAST")/eval} # goes when the stage is trained again
  OPTIONS=("model.vit_model=$QUICKSTART_RUN/1_frames/checkpoint_0.pth" "model.ckpt_2=$LAST" "model.llama_model=$QUICKSTART_DATA/llama"
    "model.qformer_tokenizer=$QUICKSTART_DATA/bert")
  shift "$(($# < 2 ? $# : 2))"
elif [[ $# -ge 2 && $WHAT != score ]]; then
  known "$WHAT" "${BENCHMARKS[@]}" all quickstart score
  CKPT=$2 CFG=${CFG:-$HERE/eval_configs/timechat.yaml}
  OUTPUT=${OUTPUT:-$(answers_of "$CKPT")}
  shift 2
else
  usage
fi
if [[ ($WHAT == all || $WHAT == quickstart) && -n ${ANNO:-}${VIDEOS:-} ]]; then
  echo "eval.sh: ANNO and VIDEOS name one benchmark's files; set DATA_DIR (or QUICKSTART_DATA) for all of them" >&2
  exit 2
fi

OPTIONS+=("$@")
[[ -f $CFG ]] || MISSING+=("config: $CFG")
[[ -f $CKPT ]] || MISSING+=("checkpoint: $CKPT")
[[ -z ${LAST:-} || -f $LAST ]] || MISSING+=("checkpoint of the last stage: $LAST")
run
if [[ ${#MISSING[@]} -gt 0 ]]; then
  printf 'eval.sh: missing files:\n' >&2
  printf '  %s\n' "${MISSING[@]}" >&2
  exit 1
fi
if ! "$PYTHON" -c "import timechat" 2>/dev/null; then
  echo "eval.sh: $PYTHON cannot import timechat; activate its environment (source .venv/bin/activate) or set PYTHON" >&2
  exit 1
fi
if [[ $WHAT == all ]] && ! "$PYTHON" -m timechat.cli.annotations "${ASKED[@]}"; then
  echo "eval.sh: nothing was evaluated; correct the annotations, or evaluate the benchmarks one by one" >&2
  exit 1
fi
CHECKING=no
run
[[ $WHAT != quickstart ]] || launch quickstart --options "${OPTIONS[@]}" "${TOGETHER[@]}" || FOLDERS=()
if [[ $WHAT =~ ^(all|quickstart)$ && ${#FOLDERS[@]} -gt 0 ]]; then
  "$PYTHON" -m timechat.cli.report "${FOLDERS[@]}"
fi
if [[ ${#FAILED[@]} -gt 0 ]]; then
  printf 'eval.sh: failed:\n' >&2
  printf '  %s\n' "${FAILED[@]}" >&2
  exit 1
fi
