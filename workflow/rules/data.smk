# Sources -> Parquet shards.


onstart:
    hold_lock()


for artefact in get_artefacts():

    rule:
        name:
            f"download_{artefact}"
        output:
            # Not the artefact itself: it may be a link to a folder, and a part of it is kept to go on from.
            touch(f"data/sources/{artefact}.ready"),
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
            # What is there and is what the lock file says is kept, so that another mirror fetches nothing anew.
            sources=json.dumps(ARENA.sources[artefact]),
        shell:
            "python -m lra download {params.artefact} --sources {params.sources:q} 2> {log}"


# The archives of the Arena hold a million small files: one pass extracts what the configured tasks need.
for artefact in get_artefacts() & EXTRACTED:

    rule:
        name:
            f"extract_{artefact}"
        input:
            ancient(f"data/sources/{artefact}.ready"),
        output:
            directory(f"data/extracted/{artefact}"),
        log:
            f"logs/extract_{artefact}.log",
        benchmark:
            f"logs/benchmarks/extract_{artefact}.tsv"
        conda:
            "../../envs/data.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=240,
        params:
            artefact=artefact,
            tasks=sorted(task for task in ARENA.tasks if ARENA.artefact(task) == artefact),
            code=fingerprint("lra.data.release"),
        shell:
            "python -m lra extract {params.artefact} data/sources/{params.artefact} --verified --tasks {params.tasks} "
            "--out {output} 2> {log}"


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
            get_source_ready(task),
            get_own_files(task),
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
            settings=json.dumps(ARENA.data(task), sort_keys=True),
            source=(f"--source {shlex.quote(str(ARENA.source(task)))}" if ARENA.source(task) else ""),
            code=fingerprint("lra.data.shards", *get_task_modules(task)),
        shell:
            "python -m lra prepare {params.task} --settings {params.settings:q} {params.source} "
            "--out $(dirname {output.manifest}) --workers {threads} 2> {log}"


# Not part of `all`: asked for by name, to see what the task looks like.
if "pathfinder" in ARENA.tasks:

    rule contact_sheet_pathfinder:
        input:
            manifest=get_manifest("pathfinder"),
            shards=get_stored_shards("pathfinder"),
        output:
            report(
                "results/plots/pathfinder_examples.png",
                caption="../report/pathfinder_examples.rst",
                category="Data",
                labels={"figure": "pathfinder images"},
            ),
        log:
            "logs/contact_sheet_pathfinder.log",
        benchmark:
            "logs/benchmarks/contact_sheet_pathfinder.tsv"
        conda:
            "../../envs/data.yaml"
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            scale=ARENA.scale,
            code=fingerprint("lra.tasks.pathfinder_drawing"),
        shell:
            "python -m lra contact-sheet $(dirname {input.manifest}) --out {output} 2> {log}"
