# Sources -> Parquet shards.

onstart:
    hold_lock()


for artefact in sorted({ARENA.artefact(task) for task in ARENA.tasks} - {None}):

    rule:
        name:
            f"download_{artefact}"
        output:
            f"data/sources/{artefact}",
        log:
            f"logs/download_{artefact}.log",
        benchmark:
            f"logs/benchmarks/download_{artefact}.tsv"
        conda:
            "../../envs/data.yaml"
        threads: 1
        resources:
            mem_mb=1000,
            runtime=600,
        params:
            artefact=artefact,
            sources=json.dumps(ARENA.sources[artefact]),
        shell:
            "{LRA} download {params.artefact} --sources {params.sources:q} --out {output} 2> {log}"


rule shards:
    # Asked for by name, so that a deleted shard is made again.
    input:
        [file for task in ARENA.tasks for file in get_shard_files(task)],
    localrule: True


for task in ARENA.tasks:

    checkpoint:
        name:
            f"prepare_{task}"
        input:
            # Its checksum is locked at the first download, so that its age says nothing.
            ancient([f"data/sources/{ARENA.artefact(task)}"] if ARENA.artefact(task) else []),
        output:
            manifest=get_shard_files(task)[0],
            shards=get_shard_files(task)[1:],
        log:
            f"logs/{ARENA.scale}/prepare_{task}.log",
        benchmark:
            f"logs/benchmarks/{ARENA.scale}/prepare_{task}.tsv"
        conda:
            "../../envs/data.yaml"
        threads: 2
        resources:
            mem_mb=2000,
            runtime=240,
        params:
            task=task,
            settings=json.dumps(ARENA.data(task)),
            source=lambda wildcards, input: f"--source {input[0]}" if input else "",
            code=fingerprint("lra.data.shards", f"lra.tasks.{task}"),
        shell:
            "{LRA} prepare {params.task} --settings {params.settings:q} {params.source} "
            "--out $(dirname {output.manifest}) --workers {threads} 2> {log}"
