package org.fedvoice.sdk

import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.launch
import org.fedvoice.core.FedvoiceException
import org.json.JSONObject
import java.io.File

/**
 * What `fedvoice deploy` asks of the app over adb:
 * `am broadcast -n PACKAGE/org.fedvoice.sdk.DeployReceiver -a org.fedvoice.DEPLOY --es command C`.
 *
 * Only holders of the DUMP permission reach it: adb's shell and the system. The answer is the
 * broadcast's result, one JSON object.
 */
class DeployReceiver : BroadcastReceiver() {
    override fun onReceive(context: Context, intent: Intent) {
        val pending = goAsync()
        CoroutineScope(Dispatchers.Default).launch {
            val answer = answer(FedVoice.get(context), PhoneFiles(context), intent)
            pending.setResultData(answer.toString())
            pending.finish()
        }
    }

    internal companion object {
        /** The answer to a command; errors are answers too. */
        suspend fun answer(voice: FedVoice, files: PhoneFiles, intent: Intent): JSONObject =
            try {
                perform(voice, files, intent)
            } catch (error: FedvoiceException) {
                JSONObject().put("error", error.code.id).put("message", error.message)
            } catch (error: IllegalArgumentException) {
                JSONObject().put("error", "bad-config").put("message", error.message)
            }

        private suspend fun perform(
            voice: FedVoice,
            files: PhoneFiles,
            intent: Intent,
        ): JSONObject {
            fun text(name: String) =
                requireNotNull(intent.getStringExtra(name)) { "no $name given" }
            val answer = JSONObject()
            when (val command = text("command")) {
                "enrol" -> {
                    voice.enrol(text("invitation"))
                }

                "consent" -> {
                    voice.setConsent(intent.getBooleanExtra("given", true))
                }

                "install-task" -> {
                    val folder = deployed(files, text("folder"))
                    voice.phone.alone { voice.phone.installTask(folder) }
                }

                "add-examples" -> {
                    val added = voice.addExamples(deployed(files, text("folder")))
                    answer.put("added", added)
                }

                "train-now" -> {
                    require(voice.consent) { "the person has not agreed to training" }
                    voice.trainNowInBackground()
                }
                "delete-everything" -> {
                    voice.deleteEverything()
                }
                "status" -> {
                    answer.put("explanation", JSONObject(voice.explain().toJson()))
                }
                else -> {
                    throw IllegalArgumentException("unknown command $command")
                }
            }
            return answer
                .put("client_id", voice.phone.clientId)
                .put("enrolled", voice.isEnrolled)
                .put("consent", voice.consent)
                .put("examples", voice.exampleCount)
                .put("books", JSONObject(voice.status.toJson()))
        }

        /** A folder that was pushed; a name that leads out of it is not followed. */
        private fun deployed(files: PhoneFiles, name: String) =
            File(
                checkNotNull(files.deployed) { "the phone's storage is not there" },
                File(name).name,
            )
    }
}
