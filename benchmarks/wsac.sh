#!/bin/sh
# WSAC's table on the miniature (its Table 1): benchmarks/wsac.sh PYTHON CORPUS [SEED ...]
# One training of each kind for each seed; a row of several seeds is their mean. A training whose export is there is not
# made again. One row more is the best pair of a training and an inference strategy, chosen on val by the first seed.
set -eu
python=$1 corpus=$2
shift 2
seeds=${*:-42}
first=${seeds%% *}

# run COMMAND SPLIT SEED TRAINED [DECODED]: TRAINED and DECODED name overlays in configs/strategy/, or "baseline"
run() {
    command=$1 split=$2 seed=$3 trained=$4 overlays=
    shift 3
    for strategy in "$@"; do
        [ "$strategy" = baseline ] || overlays="$overlays --config configs/strategy/$strategy.yaml"
    done
    name=wsac_${corpus}_${trained}_$seed
    [ "$command" = fit ] && [ -e "exports/$name" ] && return
    # shellcheck disable=SC2086 (words are meant)
    "$python" train.py "$command" --config configs/clap_prefix.yaml $overlays --seed_everything "$seed" \
        --data.train "$corpus/train" --data.val "$corpus/val" --data.test "$corpus/$split" \
        --run_name "$name$([ "$split" = test ] || echo "_$split")" --export.source "exports/$name" \
        --evaluation.java false
}

for seed in $seeds; do
    for trained in baseline noise_injection noise_injection_paper embedding_shift supervised; do
        run fit test "$seed" "$trained"
        run test test "$seed" "$trained"
    done
    for decoded in nearest_neighbour projection reference; do
        run test test "$seed" baseline "$decoded"
    done
done

# CIDEr-D, training, inference; one line for each pair
on_val=runs/wsac_${corpus}_on_val.txt
: >"$on_val"
for trained in noise_injection noise_injection_paper embedding_shift; do
    for decoded in nearest_neighbour projection; do
        run test val "$first" "$trained" "$decoded"
        newest=$(ls -td "runs/wsac_${corpus}_${trained}_${first}_val_$decoded"/test-* | head -n 1)
        "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["cider_d"], *sys.argv[2:])' \
            "$newest/scores.json" "$trained" "$decoded" >>"$on_val"
    done
done
# shellcheck disable=SC2046 (two words)
set -- $(LC_ALL=C sort -rn "$on_val" | head -n 1 | cut -d ' ' -f 2-)
for seed in $seeds; do
    run test test "$seed" "$1" "$2"
done

# row TRAINED [DECODED]: the runs of all seeds, separated by commas
row() {
    runs=
    for seed in $seeds; do
        runs="$runs,runs/wsac_${corpus}_${1}_$seed${2:+_$2}"
    done
    echo "${runs#,}"
}

"$python" -m reports.compare \
    "baseline=$(row baseline)" "NI, estimated=$(row noise_injection)" \
    "NI, paper's variance=$(row noise_injection_paper)" "ES=$(row embedding_shift)" \
    "NND=$(row baseline nearest_neighbour)" "PD=$(row baseline projection)" \
    "best on val: $1, $2=$(row "$1" "$2")" "supervised=$(row supervised)" \
    "own text=$(row baseline reference)" --against baseline \
    --vocabulary assets/miniature/vocabulary.json --output "runs/wsac_$corpus.md"
