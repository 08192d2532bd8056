package org.fedvoice.dictation

import android.app.Application
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.asCoroutineDispatcher
import org.fedvoice.sdk.FedVoice
import org.fedvoice.sdk.FedVoiceConfig
import org.fedvoice.sdk.NotificationText

/** The library starts with the process: the system may start that for a session alone. */
class DictationApp : Application() {
    /** For what goes on when the screen that began it is closed. */
    private val scope by lazy {
        CoroutineScope(SupervisorJob() + mainExecutor.asCoroutineDispatcher())
    }

    internal val consent by lazy {
        val voice = FedVoice.get(this)
        Consent(scope, voice::consent, voice::setConsent)
    }

    override fun onCreate() {
        super.onCreate()
        FedVoice.start(
            this,
            FedVoiceConfig(notification = NotificationText(icon = R.drawable.ic_fedvoice)),
        )
    }
}
