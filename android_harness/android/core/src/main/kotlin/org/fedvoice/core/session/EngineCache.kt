package org.fedvoice.core.session

import org.fedvoice.core.training.Engine
import org.fedvoice.core.training.MemoryMeter
import java.io.Closeable

/** An engine, and the memory resident before it was loaded: its baseline. */
class LoadedEngine(val engine: Engine, val memoryBaselineBytes: Long)

/**
 * One engine for each task manifest (which names its program); for one thread at a time.
 *
 * @param factory makes an engine of an installed task
 * @param maxEngines the least recently used one is closed, and its arenas with it
 */
class EngineCache(
    private val memory: MemoryMeter,
    private val maxEngines: Int = 2,
    private val factory: (InstalledTask) -> Engine,
) : Closeable {
    private val engines = LinkedHashMap<String, LoadedEngine>(INITIAL, LOAD, true)

    /** The engine of a manifest; [task] is called only if it has to be loaded. */
    fun get(manifestDigest: String, task: () -> InstalledTask): LoadedEngine {
        engines[manifestDigest]?.let { return it }
        while (engines.size >= maxEngines) {
            engines.remove(engines.keys.first())?.engine?.close()
        }
        val installed = task()
        val baseline = memory.residentBytes()
        return LoadedEngine(factory(installed), baseline).also { engines[manifestDigest] = it }
    }

    override fun close() {
        engines.values.forEach { it.engine.close() }
        engines.clear()
    }

    private companion object {
        const val INITIAL = 4
        const val LOAD = 0.75f
    }
}
