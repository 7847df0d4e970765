# Sources -> Parquet shards.


rule download:
    output:
        # Not the artefact itself: it can be a link to a folder, and Snakemake would delete an unfinished download.
        touch(paths.downloaded("{artefact}")),
    log:
        paths.log("download_{artefact}"),
    wildcard_constraints:
        artefact=get_regex(get_artefacts()),
    conda:
        "../../envs/data.yaml"
    resources:
        runtime=600,
    params:
        # An existing download with the pinned checksum is kept, so that a change of mirror repeats no download.
        sources=lambda wildcards: json.dumps(ARENA.sources[wildcards.artefact]),
    shell:
        "python -m lra download {wildcards.artefact} --sources {params.sources:q} 2> {log}"


# The archives of the Arena hold a million small files: one pass extracts what the configured tasks need.
rule extract:
    input:
        ancient(paths.downloaded("{artefact}").as_posix()),
    output:
        directory(paths.extracted("{artefact}")),
    log:
        paths.log("extract_{artefact}"),
    wildcard_constraints:
        artefact=get_regex(get_artefacts() & EXTRACTED),
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        archive=lambda wildcards: paths.source(wildcards.artefact),
        parts=lambda wildcards: ARENA.extracted_parts(wildcards.artefact),
        code=fingerprint("lra.data.release"),
    shell:
        "python -m lra extract {wildcards.artefact} {params.archive} --verified --tasks {params.parts} "
        "--out {output} 2> {log}"


rule shards:
    # List the shards too, so that a deleted one is prepared again.
    input:
        [file for task in ARENA.tasks for file in get_shard_files(task)],
    localrule: True


for task in ARENA.tasks:

    checkpoint:
        name:
            f"prepare_{task}"
        input:
            get_source_ready(task),
            get_own_files(task),
        output:
            manifest=get_shard_files(task)[0],
            shards=get_shard_files(task)[1:],
        log:
            paths.log(ARENA.scale, f"prepare_{task}"),
        conda:
            "../../envs/data.yaml"
        threads: 2
        resources:
            mem_mb=2000,
            runtime=240,
        params:
            task=task,
            settings=json.dumps(ARENA.data(task), sort_keys=True),
            source=(f"--source {shlex.quote(str(ARENA.source(task)))}" if ARENA.source(task) else ""),
            code=fingerprint("lra.data.shards", *get_task_modules(task)),
        shell:
            "python -m lra prepare {params.task} --settings {params.settings:q} {params.source} "
            "--out $(dirname {output.manifest}) --workers {threads} 2> {log}"


# Not part of `all`: a picture of the task, for `snakemake contact_sheet_pathfinder`.
if "pathfinder" in ARENA.tasks:

    rule contact_sheet_pathfinder:
        input:
            manifest=get_manifest("pathfinder"),
            shards=get_stored_shards("pathfinder"),
        output:
            report(
                paths.CONTACT_SHEET,
                caption="../report/pathfinder_examples.rst",
                category="Data",
                labels={"figure": "pathfinder images"},
            ),
        log:
            paths.log("contact_sheet_pathfinder"),
        conda:
            "../../envs/data.yaml"
        params:
            scale=ARENA.scale,
            code=fingerprint("lra.tasks.pathfinder_drawing"),
        shell:
            "python -m lra contact-sheet $(dirname {input.manifest}) --out {output} 2> {log}"
