package org.fedvoice.sdk

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.Service
import android.content.Context
import android.content.Intent
import android.content.pm.ServiceInfo
import android.os.Build
import android.os.IBinder
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch

/**
 * A session that a person started and watches: in the foreground, with a notification that says
 * what happens. The phone's own gates do not apply to it, and the server is told so.
 */
class TrainingService : Service() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    override fun onBind(intent: Intent?): IBinder? = null

    override fun onStartCommand(intent: Intent?, flags: Int, startId: Int): Int {
        val voice = FedVoice.get(this)
        show(voice.config.notificationId, notification(this, voice.config.notification))
        scope.launch {
            if (voice.consent) voice.schedule(voice.session(overridden = true))
            stopSelf(startId)
        }
        return START_NOT_STICKY
    }

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }

    private fun show(id: Int, notification: Notification) {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) {
            val type = ServiceInfo.FOREGROUND_SERVICE_TYPE_DATA_SYNC
            startForeground(id, notification, type)
        } else {
            startForeground(id, notification)
        }
    }

    internal companion object {
        private const val CHANNEL = "org.fedvoice.training"

        fun start(context: Context) {
            context.startForegroundService(Intent(context, TrainingService::class.java))
        }

        /** Takes notification and channel away. */
        fun forget(context: Context, id: Int) {
            val manager = context.getSystemService(NotificationManager::class.java)
            manager.cancel(id)
            manager.deleteNotificationChannel(CHANNEL)
        }

        private fun notification(context: Context, text: NotificationText): Notification {
            val importance = NotificationManager.IMPORTANCE_LOW
            val channel = NotificationChannel(CHANNEL, text.channel, importance)
            context
                .getSystemService(
                    NotificationManager::class.java,
                ).createNotificationChannel(channel)
            return Notification
                .Builder(context, CHANNEL)
                .setSmallIcon(text.icon)
                .setContentTitle(text.title)
                .setContentText(text.text)
                .setOngoing(true)
                .setProgress(0, 0, true)
                .build()
        }
    }
}
