package org.fedvoice.core.model

import kotlinx.serialization.ExperimentalSerializationApi
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.JsonIgnoreUnknownKeys
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException

/** One parameter's place: floats `offset until offset + size` of the vector as [shape]. */
@OptIn(ExperimentalSerializationApi::class)
@Serializable
@JsonIgnoreUnknownKeys
data class ParameterSpec(val name: String, val shape: List<Int>, val offset: Int) {
    init {
        require(offset >= 0 && shape.all { it > 0 }) {
            "parameter '$name' has the shape $shape at $offset"
        }
    }

    /** Number of floats. */
    val size: Int get() = shape.fold(1, Int::times)
}

/**
 * All parameters of a model in the order in which a program takes them as inputs.
 *
 * @property totalSize P, length of the flat vector in floats, padding included
 */
@OptIn(ExperimentalSerializationApi::class)
@Serializable
@JsonIgnoreUnknownKeys
data class ParameterTable(
    val parameters: List<ParameterSpec>,
    @SerialName("total_size") val totalSize: Int,
) {
    init {
        for (spec in parameters) {
            require(spec.size in 1..totalSize && spec.offset <= totalSize - spec.size) {
                "parameter '${spec.name}' lies outside of the $totalSize floats"
            }
        }
    }

    /** Bytes of one flat vector as float32. */
    val weightsBytes: Long get() = Float.SIZE_BYTES.toLong() * totalSize

    /** @throws FedvoiceException `wrong-shape` unless [flat] has P values */
    fun check(flat: FloatArray, where: String) {
        if (flat.size != totalSize) {
            throw FedvoiceException(
                ErrorCode.WRONG_SHAPE,
                where = where,
                got = "float32 (${flat.size},)",
                wanted = "float32 ($totalSize,)",
                nextStep = "Use a vector that was made for this task package.",
            )
        }
    }
}
