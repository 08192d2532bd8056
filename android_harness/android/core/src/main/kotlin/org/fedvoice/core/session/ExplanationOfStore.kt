package org.fedvoice.core.session

import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.store.ExampleStore
import org.fedvoice.core.store.Split
import org.fedvoice.core.training.usageOf

/**
 * Why a phone does not train, by what lies on it: the SDK's answer and the desktop phone's.
 *
 * @param task what the phone was last given; null: none has come yet
 * @param pacing null: no time was agreed
 * @param nowSecs Unix time
 */
fun explanationOf(
    consent: Boolean,
    isEnrolled: Boolean,
    store: ExampleStore,
    task: TaskManifest?,
    requirements: Requirements,
    conditions: Conditions,
    pacing: Pacing?,
    books: Books,
    nowSecs: Double = SystemClock.wallSecs(),
): Explanation {
    val examples = Split.entries.flatMap(store::examples)
    return explanationOf(
        PhoneState(
            consent,
            isEnrolled,
            held = examples.size,
            usage = task?.let { usageOf(examples, it).counts },
            requirements = requirements,
            conditions = conditions,
            pacing = pacing,
            books = books,
            nowSecs = nowSecs,
        ),
    )
}
