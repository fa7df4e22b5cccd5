#!/bin/sh
# WSAC's table on the miniature (its Table 1): benchmarks/wsac.sh PYTHON CORPUS [SEED ...]
# One training of each kind for each seed; a row of several seeds is their mean.
set -eu
python=$1 corpus=$2
shift 2
seeds=${*:-42}

# run COMMAND SEED TRAINED [DECODED]: TRAINED and DECODED name overlays in configs/strategy/, or "baseline"
run() {
    command=$1 seed=$2 trained=$3 overlays=
    shift 2
    for strategy in "$@"; do
        [ "$strategy" = baseline ] || overlays="$overlays --config configs/strategy/$strategy.yaml"
    done
    # shellcheck disable=SC2086 (words are meant)
    "$python" train.py "$command" --config configs/clap_prefix.yaml $overlays --seed_everything "$seed" \
        --data.train "$corpus/train" --data.val "$corpus/val" --data.test "$corpus/test" \
        --run_name "wsac_${corpus}_${trained}_$seed" --evaluation.java false
}

for seed in $seeds; do
    for trained in baseline noise_injection noise_injection_paper embedding_shift supervised; do
        run fit "$seed" "$trained"
        run test "$seed" "$trained"
    done
    for decoded in nearest_neighbour projection reference; do
        run test "$seed" baseline "$decoded"
    done
    run test "$seed" noise_injection_paper nearest_neighbour
done

# row TRAINED [DECODED]: the runs of all seeds, separated by commas
row() {
    runs=
    for seed in $seeds; do
        runs="$runs,runs/wsac_${corpus}_${1}_$seed${2:+_$2}"
    done
    echo "${runs#,}"
}

"$python" -m callbacks.report \
    "baseline=$(row baseline)" "NI, estimated=$(row noise_injection)" \
    "NI, paper's variance=$(row noise_injection_paper)" "ES=$(row embedding_shift)" \
    "NND=$(row baseline nearest_neighbour)" "PD=$(row baseline projection)" \
    "NI (paper's), NND=$(row noise_injection_paper nearest_neighbour)" "supervised=$(row supervised)" \
    "own text=$(row baseline reference)" --against baseline \
    --vocabulary assets/miniature/vocabulary.json --output "runs/wsac_$corpus.md"
