package org.fedvoice.core.session

import org.fedvoice.core.training.Engine
import java.io.Closeable

/**
 * One engine for each task manifest (which names its program); for one thread at a time.
 *
 * @param factory makes an engine of an installed task
 * @param maxEngines the least recently used one is closed, and its arenas with it
 */
class EngineCache(
    private val maxEngines: Int = 2,
    private val factory: (InstalledTask) -> Engine,
) : Closeable {
    private val engines = LinkedHashMap<String, Engine>(INITIAL, LOAD, true)

    /** The engine of a manifest; [task] is called only if it has to be loaded. */
    fun get(manifestDigest: String, task: () -> InstalledTask): Engine {
        engines[manifestDigest]?.let { return it }
        while (engines.size >= maxEngines) {
            engines.remove(engines.keys.first())?.close()
        }
        return factory(task()).also { engines[manifestDigest] = it }
    }

    override fun close() {
        engines.values.forEach(Engine::close)
        engines.clear()
    }

    private companion object {
        const val INITIAL = 4
        const val LOAD = 0.75f
    }
}
