package org.fedvoice.dictation

import android.app.Activity
import android.graphics.Rect
import android.util.Log
import android.view.View
import android.widget.Switch
import android.widget.TextView
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.cancel
import kotlinx.coroutines.job
import kotlinx.coroutines.launch
import org.fedvoice.core.FedvoiceException
import org.fedvoice.sdk.FedVoice

/** What the screens share: acts that say how they ended, the switch of consent, a fresh view. */
abstract class Screen : Activity() {
    /** Work of this screen; it ends with it. */
    protected val scope: CoroutineScope by lazy {
        CoroutineScope(SupervisorJob() + mainExecutor.asCoroutineDispatcher())
    }

    /** The library. */
    protected val voice: FedVoice by lazy { FedVoice.get(this) }

    private val agreement by lazy { (application as DictationApp).consent }
    private val consent by lazy { findViewById<Switch>(R.id.consent) }
    private val message by lazy { findViewById<TextView>(R.id.message) }
    private var refreshing: Job? = null

    /** Whether nothing is under way; tests wait for it. */
    internal val isIdle: Boolean
        get() =
            scope.coroutineContext.job.children
                .none()

    /** For [onCreate], when the views are there. */
    protected fun connect() {
        findViewById<View>(android.R.id.content).keepClearOfBars()
        say("")
        consent.setOnClickListener { agree(consent.isChecked) }
    }

    override fun onResume() {
        super.onResume()
        refresh()
    }

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }

    /** Reads what the screen shows, away from the main thread, and shows it. */
    protected abstract suspend fun show()

    /** The person agrees or does not any more; it works at once. */
    protected fun agree(given: Boolean): Job {
        val change = agreement.change(given)
        return act {
            change.await()
            null
        }
    }

    /**
     * Runs [work] and says how it ended: what it returns, if anything, or what went wrong.
     *
     * @param notFound what to say of something that is not on the phone
     */
    protected fun act(notFound: Int = R.string.error_gone, work: suspend () -> String?): Job {
        say("")
        return scope.launch {
            try {
                work()?.let(::say)
            } catch (error: FedvoiceException) {
                Log.w(TAG, error.message.orEmpty())
                say(wordsFor(error, notFound))
            } finally {
                refresh()
            }
        }
    }

    /** Shows [text] where a screen reader hears of it at once. */
    protected fun say(text: CharSequence) {
        message.text = text
        message.visibility = if (text.isEmpty()) View.GONE else View.VISIBLE
        if (text.isNotEmpty()) {
            message.post {
                message.requestRectangleOnScreen(Rect(0, 0, message.width, message.height))
            }
        }
    }

    /** Only the newest one is shown: an older one may have read what does not hold any more. */
    private fun refresh() {
        refreshing?.cancel()
        consent.isChecked = agreement.isOn
        refreshing =
            scope.launch {
                val isChanging = agreement.isChanging
                refreshed()
                // It may have been begun by a screen that is closed.
                if (isChanging) {
                    agreement.settle()
                    refreshed()
                }
            }
    }

    private suspend fun refreshed() {
        try {
            show()
        } catch (error: FedvoiceException) {
            Log.w(TAG, error.message.orEmpty())
            say(wordsFor(error))
        }
        consent.isChecked = agreement.isOn
    }

    internal companion object {
        const val TAG = "fedvoice-app"
    }
}
