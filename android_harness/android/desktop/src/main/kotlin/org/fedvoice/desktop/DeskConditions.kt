package org.fedvoice.desktop

import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.booleanOrNull
import kotlinx.serialization.json.doubleOrNull
import kotlinx.serialization.json.intOrNull
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import org.fedvoice.core.session.ConditionSource
import org.fedvoice.core.session.Conditions
import java.io.File
import java.io.IOException

/**
 * The conditions of a phone on a desktop: always on the charger, or what a file says now.
 *
 * @param file a JSON object with any of charging, idle, unmetered, battery_percent and
 *   temperature_celsius, read again at every poll; null: all is well
 */
internal class DeskConditions(
    private val stateDir: File,
    private val metered: Boolean,
    private val file: File?,
) : ConditionSource {
    private var last = conditionsOf(JsonObject(emptyMap())).copy(unmetered = !metered)

    override fun read(): Conditions {
        last = file?.let(::said) ?: last
        return last.copy(
            freeStorageBytes = stateDir.usableSpace,
            freeMemoryBytes = availableMemoryBytes(),
        )
    }

    /** What the file says; null while somebody writes it. */
    private fun said(file: File): Conditions? =
        try {
            conditionsOf(Json.parseToJsonElement(file.readText()).jsonObject)
                .let { if (metered) it.copy(unmetered = false) else it }
        } catch (_: IOException) {
            null
        } catch (_: SerializationException) {
            null
        } catch (_: IllegalArgumentException) {
            null
        }
}

/** Conditions by the names of a JSON object; what it does not name is well, or not looked at. */
internal fun conditionsOf(fields: JsonObject): Conditions {
    fun yes(name: String) = fields[name]?.jsonPrimitive?.booleanOrNull ?: true
    return Conditions(
        charging = yes("charging"),
        idle = yes("idle"),
        unmetered = yes("unmetered"),
        batteryPercent = fields["battery_percent"]?.jsonPrimitive?.intOrNull,
        temperatureCelsius = fields["temperature_celsius"]?.jsonPrimitive?.doubleOrNull,
    )
}

private fun availableMemoryBytes(): Long? {
    val lines =
        try {
            File("/proc/meminfo").readLines()
        } catch (_: IOException) {
            return null
        }
    val line = lines.firstOrNull { it.startsWith("MemAvailable:") } ?: return null
    return line.split(Regex("\\s+"))[1].toLong() * KILOBYTE
}

private const val KILOBYTE = 1024
