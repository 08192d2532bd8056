package org.fedvoice.desktop

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import org.fedvoice.core.training.ProcMemory
import org.fedvoice.core.training.train
import java.io.File
import java.lang.management.ManagementFactory

/**
 * `bench JOB.json DELTA`: one round's training at the pace of standard input, for
 * `benchmarks/android_phone.py`.
 *
 * A line `go N` runs N steps and is answered by `{"wall_secs", "cpu_secs"}` of them; `memory` by
 * `{"heap_bytes", "resident_bytes"}` after a garbage collection; `stop` or the end of input ends
 * the training early. What a finished round has learnt is written to DELTA, float32 [P].
 */
fun bench(arguments: List<String>) {
    val (jobFile, deltaFile) = arguments
    val job = Json.decodeFromString(TrainingJob.serializer(), File(jobFile).readText())
    engineOf(job.task).use { engine ->
        val pace = Pace()
        val result =
            train(
                engine,
                examplesOf(job, engine),
                planOf(job.plan),
                readFloats(job.weights),
                job.clientId,
                job.round,
                shouldStop = pace::next,
            )
        result.delta?.let { writeFloats(File(deltaFile), it) }
        pace.finish(result.status.name)
    }
}

private class Pace {
    private var left = 0
    private var wallStarted = 0L
    private var cpuStarted = 0L
    private var running = false

    /** Wait for leave to take the next step; true: stop. */
    fun next(): Boolean {
        if (left > 0) {
            left -= 1
            return false
        }
        report()
        while (true) {
            val words = readlnOrNull()?.split(' ') ?: return true
            when (words[0]) {
                "go" -> {
                    left = words[1].toInt() - 1
                    running = true
                    wallStarted = System.nanoTime()
                    cpuStarted = cpuNanos()
                    return false
                }
                "memory" -> {
                    reportMemory()
                }
                else -> {
                    return true
                }
            }
        }
    }

    /** Answer the last `go`, which ran to the end of the training. */
    fun finish(status: String) {
        report()
        println(buildJsonObject { put("status", status) })
    }

    private fun report() {
        if (!running) return
        running = false
        val wallSecs = (System.nanoTime() - wallStarted) / NANOS
        val cpuSecs = (cpuNanos() - cpuStarted) / NANOS
        println(
            buildJsonObject {
                put("wall_secs", wallSecs)
                put("cpu_secs", cpuSecs)
            },
        )
    }

    private fun reportMemory() {
        repeat(GC_ROUNDS) { System.gc() }
        val heapBytes = ManagementFactory.getMemoryMXBean().heapMemoryUsage.used
        println(
            buildJsonObject {
                put("heap_bytes", heapBytes)
                put("resident_bytes", ProcMemory.residentBytes())
            },
        )
    }

    private companion object {
        const val NANOS = 1e9
        const val GC_ROUNDS = 3

        fun cpuNanos(): Long {
            val system = ManagementFactory.getOperatingSystemMXBean()
            return (system as com.sun.management.OperatingSystemMXBean).processCpuTime
        }
    }
}
