package org.fedvoice.dictation

import android.app.Application
import org.fedvoice.sdk.FedVoice
import org.fedvoice.sdk.FedVoiceConfig
import org.fedvoice.sdk.NotificationText

/** The library starts with the process: the system may start that for a session alone. */
class DictationApp : Application() {
    override fun onCreate() {
        super.onCreate()
        FedVoice.start(
            this,
            FedVoiceConfig(notification = NotificationText(icon = R.drawable.ic_fedvoice)),
        )
    }
}
