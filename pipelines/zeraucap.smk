# make zeraucap [SIZE=paper]: ZerAuCap on audiocaps and on clotho beside its published numbers. Nothing is trained or
# drawn, so there are no seeds.
CHAIN = "zeraucap"
ZERAUCAP = f"zeraucap_{{corpus}}{SIZE}"
test("zeraucap_test", ZERAUCAP, ["keywords", full("keywords")], "--data.test {corpus}/test")
ZERAUCAP_TABLES = [
    summarize(
        f"zeraucap_{corpus}_table",
        f"ZerAuCap on {corpus}/test",
        f"compare ZerAuCap=runs/{ZERAUCAP.format(corpus=corpus)} --published zeraucap {corpus} {WORDS}",
        f"zeraucap_{corpus}{SIZE}.md",
        tested(ZERAUCAP.format(corpus=corpus)),
    )
    for corpus in CORPORA
]
experiment("zeraucap", *ZERAUCAP_TABLES, reads=[*packed(*(f"{corpus}/test" for corpus in CORPORA)), *KEYWORDS_READ])
