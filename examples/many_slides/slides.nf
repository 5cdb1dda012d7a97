// One process per slide, for clusters that know Nextflow: a slide is a task, and a last task scores all of them.
//
//     nextflow run slides.nf --model runs/demo --slides slides --out maps
//
// A slide that cannot be read ends with exit code 3 and is named in failures.csv: that is no failure of the task.
params.model = 'runs/demo'
params.slides = 'slides'
params.out = 'maps'

process READ_SLIDE {
    cpus 1
    input:
    path slide
    output:
    val slide.name
    // The runtime is named and the network has one thread: both change the last digits of probabilities.
    // Real paths: the output folder is shared by all tasks and lies outside Nextflow's own.
    script:
    """
    OMP_NUM_THREADS=1 counterstain slides run ${file(params.model).toAbsolutePath()} \$(readlink -f ${slide}) \\
        --out ${file(params.out).toAbsolutePath()} --runtime torch || [ \$? = 3 ]
    """
}

process SCORE {
    input:
    val names
    output:
    stdout
    script:
    """
    OMP_NUM_THREADS=1 counterstain slides run ${file(params.model).toAbsolutePath()} \\
        ${file(params.slides).toAbsolutePath()} --out ${file(params.out).toAbsolutePath()} --runtime torch || [ \$? = 3 ]
    """
}

workflow {
    slides = Channel.fromPath("${params.slides}/*.{tif,svs,ndpi,mrxs}")
    SCORE(READ_SLIDE(slides).collect()) | view
}
