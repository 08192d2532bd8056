package org.fedvoice.dictation

import android.app.Application
import android.content.res.Configuration
import android.os.LocaleList
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

    private lateinit var languages: LocaleList

    override fun onCreate() {
        super.onCreate()
        start()
    }

    override fun onConfigurationChanged(configuration: Configuration) {
        super.onConfigurationChanged(configuration)
        if (configuration.locales != languages) start()
    }

    /** With the notification in the person's language. */
    private fun start() {
        languages = resources.configuration.locales
        val words =
            NotificationText(
                channel = getString(R.string.notification_title),
                title = getString(R.string.notification_title),
                text = getString(R.string.notification_text),
                icon = R.drawable.ic_fedvoice,
            )
        FedVoice.start(this, FedVoiceConfig(notification = words))
    }
}
