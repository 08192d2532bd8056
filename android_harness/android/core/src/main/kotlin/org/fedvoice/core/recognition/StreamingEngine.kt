package org.fedvoice.core.recognition

import org.fedvoice.core.training.Engine

/**
 * An engine that also recognises chunk by chunk; [org.fedvoice.core.model.Streaming] has C, R, S.
 *
 * Each method takes the weights [P] and throws `wrong-shape`, or `bad-package` for a task without
 * streaming methods.
 */
interface StreamingEngine : Engine {
    /** Outputs [C * O] and state [S] after [features] [C * stack * mel_bins], from [state] [S]. */
    fun stream(weights: FloatArray, features: FloatArray, state: FloatArray): Carried

    /** Predictions [R * J] and states [R * S'] after [tokens] [R], from [states] [R * S']. */
    fun predict(weights: FloatArray, tokens: LongArray, states: FloatArray): Carried

    /** Logits [R * V] of [outputs] [R * J] and [predictions] [R * J]. */
    fun join(weights: FloatArray, outputs: FloatArray, predictions: FloatArray): FloatArray
}

/** What a call gives, and the state that the next one takes. */
class Carried(val values: FloatArray, val state: FloatArray)
