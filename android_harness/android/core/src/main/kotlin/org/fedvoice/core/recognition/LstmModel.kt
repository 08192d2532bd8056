package org.fedvoice.core.recognition

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.io.File
import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.tanh

/**
 * An LSTM from a .safetensors file, or an n-gram model from an ARPA file. For one thread.
 *
 * @param tokens the task's; tokens[0] is the blank
 * @return the model before a sentence
 * @throws FedvoiceException as [readArpa]; `wrong-shape` for tensors that do not fit together
 */
fun readLanguageModel(file: File, tokens: List<String>): LanguageModel =
    if (file.extension == "safetensors") {
        Lstm(Tensors(readSafetensors(file), file.path), tokens.size).start()
    } else {
        readArpa(file, tokens)
    }

/**
 * An LSTM over the task's ids, of PyTorch's `nn.Embedding`, `nn.LSTM` and `nn.Linear`. Its input
 * before a sentence is 0. The counterpart of that in `device_runtime/recognition/language.py`.
 */
private class Lstm(tensors: Tensors, vocabularySize: Int) {
    private val width = tensors.columns("embedding.weight")
    private val hidden = tensors.columns("$HIDDEN_WEIGHT$FIRST")
    private val embedding = tensors.of("embedding.weight", vocabularySize, width)
    private val layers =
        List(maxOf(1, tensors.count(INPUT_WEIGHT))) { layer ->
            val into = if (layer == 0) width else hidden
            val second = "lstm.bias_hh_l$layer"
            Layer(
                tensors.of("$INPUT_WEIGHT$layer", GATES * hidden, into),
                tensors.of("$HIDDEN_WEIGHT$layer", GATES * hidden, hidden),
                tensors.of("lstm.bias_ih_l$layer", GATES * hidden),
                if (tensors.has(second)) tensors.of(second, GATES * hidden) else null,
            )
        }
    private val output = tensors.of("output.weight", vocabularySize, hidden)
    private val bias = tensors.of("output.bias", vocabularySize)

    fun start(): LanguageModel {
        val zeros = DoubleArray(hidden)
        return After(BLANK, layers.map { Memory(zeros, zeros) })
    }

    /** After [token]; computed when it is asked for, which most hypotheses are never. */
    inner class After(token: Int, before: List<Memory>) : LanguageModel {
        private val memories by lazy(LazyThreadSafetyMode.NONE) { stepped(token, before) }
        override val logP by lazy(LazyThreadSafetyMode.NONE) {
            val logits = product(output, memories.last().hidden)
            for (i in logits.indices) logits[i] += bias[i]
            val most = logits.max()
            val total = ln(logits.sumOf { exp(it - most) })
            DoubleArray(logits.size) { logits[it] - most - total }
        }

        override fun after(token: Int) = After(token, memories)
    }

    private fun stepped(token: Int, before: List<Memory>): List<Memory> {
        var x = embedding.copyOfRange(token * width, (token + 1) * width)
        return layers.zip(before).map { (layer, memory) ->
            layer.step(x, memory).also { x = it.hidden }
        }
    }
}

private class Memory(val hidden: DoubleArray, val cell: DoubleArray)

private class Layer(
    private val ofInput: DoubleArray,
    private val ofHidden: DoubleArray,
    private val bias: DoubleArray,
    private val second: DoubleArray?,
) {
    fun step(x: DoubleArray, before: Memory): Memory {
        val gates = product(ofInput, x)
        val recurrent = product(ofHidden, before.hidden)
        for (i in gates.indices) gates[i] += recurrent[i] + bias[i] + (second?.get(i) ?: 0.0)
        val size = before.cell.size
        // PyTorch's order: input, forget, cell, output.
        val cell =
            DoubleArray(size) {
                sigmoid(gates[size + it]) * before.cell[it] +
                    sigmoid(gates[it]) * tanh(gates[2 * size + it])
            }
        return Memory(DoubleArray(size) { sigmoid(gates[3 * size + it]) * tanh(cell[it]) }, cell)
    }
}

/** A matrix [n * x.size] times [x]. */
private fun product(matrix: DoubleArray, x: DoubleArray) =
    DoubleArray(matrix.size / x.size) { row ->
        var sum = 0.0
        for (i in x.indices) sum += matrix[row * x.size + i] * x[i]
        sum
    }

private fun sigmoid(x: Double) = 0.5 * (1.0 + tanh(0.5 * x))

/** Tensors by name, whose shapes are checked. */
private class Tensors(private val named: Map<String, NamedTensor>, private val where: String) {
    fun has(name: String) = name in named

    fun count(prefix: String) = named.keys.count { it.startsWith(prefix) }

    /** Of a matrix. */
    fun columns(name: String): Int =
        named[name]?.shape?.takeIf { it.size == 2 && it[1] > 0 }?.get(1)
            ?: refuse(name, "a matrix")

    fun of(name: String, vararg shape: Int): DoubleArray =
        named[name]?.takeIf { it.shape == shape.toList() }?.values
            ?: refuse(name, shown(shape.toList()))

    private fun refuse(name: String, wanted: String): Nothing =
        throw FedvoiceException(
            ErrorCode.WRONG_SHAPE,
            where = "$where, $name",
            got = named[name]?.shape?.let(::shown) ?: "no such tensor",
            wanted = wanted,
            nextStep = "Train the language model on the task's token ids.",
        )
}

private fun shown(shape: List<Int>) =
    shape.joinToString(prefix = "(", postfix = if (shape.size == 1) ",)" else ")")

private const val INPUT_WEIGHT = "lstm.weight_ih_l"
private const val HIDDEN_WEIGHT = "lstm.weight_hh_l"
private const val FIRST = 0
private const val GATES = 4
