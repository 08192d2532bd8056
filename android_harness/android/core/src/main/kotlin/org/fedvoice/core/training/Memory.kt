package org.fedvoice.core.training

import java.io.File
import java.io.IOException

/** The process's resident memory. */
interface MemoryMeter {
    /** Resident set now, bytes; 0 where the system does not tell. */
    fun residentBytes(): Long
}

/** Reads /proc, which Linux and Android have. */
object ProcMemory : MemoryMeter {
    private const val FIELD = "VmRSS:"
    private val status = File("/proc/self/status")

    override fun residentBytes(): Long =
        try {
            status.useLines { lines ->
                val line = lines.firstOrNull { it.startsWith(FIELD) }
                line?.filter { it.isDigit() }?.toLongOrNull()?.times(1024) ?: 0
            }
        } catch (_: IOException) {
            0
        }
}

/**
 * Growth of the resident set over a base line: the largest of the samples taken.
 *
 * @param baselineBytes what was resident before the measured thing existed; null: what is now
 */
class PeakMemory(private val meter: MemoryMeter, baselineBytes: Long? = null) {
    private var largest = meter.residentBytes()
    private val baseline = baselineBytes ?: largest

    /** Look at the resident set. */
    fun sample() {
        largest = maxOf(largest, meter.residentBytes())
    }

    /** Peak of the samples minus the base line, at least 0. */
    fun growthBytes(): Long {
        sample()
        return maxOf(0, largest - baseline)
    }
}
