//! Which fields of built-in types are written when they are empty, and which are not.
//!
//! Both follow the Go types: a field without `omitempty`, or a struct that is no pointer, is always there; a plain
//! bool, number or text with `omitempty` vanishes at its zero value, while a pointer to one stays.

/// The value of an empty field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zero {
    /// A list, map or time.
    Null,
    /// A struct.
    Empty,
    /// A text.
    Text,
    /// A number.
    Number,
    /// A flag.
    False,
}

/// Definition of times with microseconds.
pub(super) const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";

/// Fields of a definition that are always there.
pub(super) fn always_written(definition: &str) -> &'static [(&'static str, Zero)] {
    use Zero::{Empty, False, Null, Number, Text};
    match definition {
        "io.k8s.api.admissionregistration.v1.MutatingWebhook" => &[("clientConfig", Empty)],
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy" => {
            &[("spec", Empty), ("status", Empty)]
        }
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding" => {
            &[("spec", Empty)]
        }
        "io.k8s.api.admissionregistration.v1.ValidatingWebhook" => &[("clientConfig", Empty)],
        "io.k8s.api.apps.v1.ControllerRevision" => &[("revision", Number)],
        "io.k8s.api.apps.v1.DaemonSet" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.apps.v1.DaemonSetCondition" => &[("lastTransitionTime", Null)],
        "io.k8s.api.apps.v1.DaemonSetSpec" => &[("updateStrategy", Empty), ("template", Empty)],
        "io.k8s.api.apps.v1.DaemonSetStatus" => &[
            ("currentNumberScheduled", Number),
            ("numberMisscheduled", Number),
            ("desiredNumberScheduled", Number),
            ("numberReady", Number),
        ],
        "io.k8s.api.apps.v1.Deployment" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.apps.v1.DeploymentCondition" => {
            &[("lastUpdateTime", Null), ("lastTransitionTime", Null)]
        }
        "io.k8s.api.apps.v1.DeploymentSpec" => &[("strategy", Empty), ("template", Empty)],
        "io.k8s.api.apps.v1.ReplicaSet" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.apps.v1.ReplicaSetCondition" => &[("lastTransitionTime", Null)],
        "io.k8s.api.apps.v1.ReplicaSetStatus" => &[("replicas", Number)],
        "io.k8s.api.apps.v1.StatefulSet" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.apps.v1.StatefulSetCondition" => &[("lastTransitionTime", Null)],
        "io.k8s.api.apps.v1.StatefulSetSpec" => &[("updateStrategy", Empty), ("template", Empty)],
        "io.k8s.api.apps.v1.StatefulSetStatus" => {
            &[("replicas", Number), ("availableReplicas", Number)]
        }
        "io.k8s.api.batch.v1.CronJob" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.batch.v1.CronJobSpec" => &[("jobTemplate", Empty)],
        "io.k8s.api.batch.v1.Job" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.batch.v1.JobCondition" => {
            &[("lastProbeTime", Null), ("lastTransitionTime", Null)]
        }
        "io.k8s.api.batch.v1.JobSpec" => &[("template", Empty)],
        "io.k8s.api.batch.v1.JobTemplateSpec" => &[("metadata", Empty), ("spec", Empty)],
        "io.k8s.api.coordination.v1.Lease" => &[("spec", Empty)],
        "io.k8s.api.core.v1.Container" => &[("name", Text), ("resources", Empty)],
        "io.k8s.api.core.v1.ContainerStateRunning" => &[("startedAt", Null)],
        "io.k8s.api.core.v1.ContainerStateTerminated" => &[
            ("exitCode", Number),
            ("startedAt", Null),
            ("finishedAt", Null),
        ],
        "io.k8s.api.core.v1.ContainerStatus" => &[
            ("name", Text),
            ("state", Empty),
            ("lastState", Empty),
            ("ready", False),
            ("restartCount", Number),
            ("image", Text),
            ("imageID", Text),
        ],
        "io.k8s.api.core.v1.DaemonEndpoint" => &[("Port", Number)],
        "io.k8s.api.core.v1.Event" => &[
            ("involvedObject", Empty),
            ("source", Empty),
            ("firstTimestamp", Null),
            ("lastTimestamp", Null),
            ("eventTime", Null),
            ("reportingComponent", Text),
            ("reportingInstance", Text),
        ],
        "io.k8s.api.core.v1.LimitRange" => &[("spec", Empty)],
        "io.k8s.api.core.v1.LimitRangeSpec" => &[("limits", Null)],
        "io.k8s.api.core.v1.Namespace" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.core.v1.NamespaceCondition" => &[("lastTransitionTime", Null)],
        "io.k8s.api.core.v1.Node" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.core.v1.NodeCondition" => {
            &[("lastHeartbeatTime", Null), ("lastTransitionTime", Null)]
        }
        "io.k8s.api.core.v1.NodeDaemonEndpoints" => &[("kubeletEndpoint", Empty)],
        "io.k8s.api.core.v1.NodeStatus" => &[("daemonEndpoints", Empty), ("nodeInfo", Empty)],
        "io.k8s.api.core.v1.NodeSystemInfo" => &[
            ("machineID", Text),
            ("systemUUID", Text),
            ("bootID", Text),
            ("kernelVersion", Text),
            ("osImage", Text),
            ("containerRuntimeVersion", Text),
            ("kubeletVersion", Text),
            ("kubeProxyVersion", Text),
            ("operatingSystem", Text),
            ("architecture", Text),
        ],
        "io.k8s.api.core.v1.PersistentVolume" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.core.v1.PersistentVolumeClaim" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.core.v1.PersistentVolumeClaimCondition" => {
            &[("lastProbeTime", Null), ("lastTransitionTime", Null)]
        }
        "io.k8s.api.core.v1.PersistentVolumeClaimSpec" => &[("resources", Empty)],
        "io.k8s.api.core.v1.Pod" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.core.v1.PodCondition" => {
            &[("lastProbeTime", Null), ("lastTransitionTime", Null)]
        }
        "io.k8s.api.core.v1.PodTemplateSpec" => &[("metadata", Empty), ("spec", Empty)],
        "io.k8s.api.core.v1.ReplicationControllerCondition" => &[("lastTransitionTime", Null)],
        "io.k8s.api.core.v1.ResourceQuota" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.core.v1.Service" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.core.v1.ServiceStatus" => &[("loadBalancer", Empty)],
        "io.k8s.api.discovery.v1.Endpoint" => &[("addresses", Null), ("conditions", Empty)],
        "io.k8s.api.discovery.v1.EndpointSlice" => &[("endpoints", Null), ("ports", Null)],
        "io.k8s.api.events.v1.Event" => &[
            ("eventTime", Null),
            ("regarding", Empty),
            ("deprecatedSource", Empty),
            ("deprecatedFirstTimestamp", Null),
            ("deprecatedLastTimestamp", Null),
        ],
        "io.k8s.api.networking.v1.HTTPIngressPath" => &[("backend", Empty)],
        "io.k8s.api.networking.v1.HTTPIngressRuleValue" => &[("paths", Null)],
        "io.k8s.api.networking.v1.Ingress" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.networking.v1.IngressClass" => &[("spec", Empty)],
        "io.k8s.api.networking.v1.IngressStatus" => &[("loadBalancer", Empty)],
        "io.k8s.api.networking.v1.NetworkPolicy" => &[("spec", Empty)],
        "io.k8s.api.networking.v1.NetworkPolicySpec" => &[("podSelector", Empty)],
        "io.k8s.api.policy.v1.PodDisruptionBudget" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.policy.v1.PodDisruptionBudgetStatus" => &[
            ("disruptionsAllowed", Number),
            ("currentHealthy", Number),
            ("desiredHealthy", Number),
            ("expectedPods", Number),
        ],
        "io.k8s.api.rbac.v1.ClusterRole" => &[("rules", Null)],
        "io.k8s.api.rbac.v1.ClusterRoleBinding" => &[("roleRef", Empty)],
        "io.k8s.api.rbac.v1.PolicyRule" => &[("verbs", Null)],
        "io.k8s.api.rbac.v1.Role" => &[("rules", Null)],
        "io.k8s.api.rbac.v1.RoleBinding" => &[("roleRef", Empty)],
        "io.k8s.api.scheduling.v1.PriorityClass" => &[("value", Number)],
        "io.k8s.api.storage.v1.CSIDriver" => &[("spec", Empty)],
        "io.k8s.api.storage.v1.CSINode" => &[("spec", Empty)],
        "io.k8s.api.storage.v1.CSINodeSpec" => &[("drivers", Null)],
        "io.k8s.api.storage.v1.StorageClass" => &[("provisioner", Text)],
        "io.k8s.api.storage.v1.VolumeAttachment" => &[("spec", Empty), ("status", Empty)],
        "io.k8s.api.storage.v1.VolumeAttachmentSpec" => &[("source", Empty)],
        "io.k8s.api.storage.v1.VolumeAttachmentStatus" => &[("attached", False)],
        "io.k8s.api.storage.v1.VolumeError" => &[("time", Null)],
        "io.k8s.apimachinery.pkg.apis.meta.v1.Condition" => &[
            ("lastTransitionTime", Null),
            ("reason", Text),
            ("message", Text),
        ],
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService" => {
            &[("spec", Empty), ("status", Empty)]
        }
        _ => &[],
    }
}

/// Optional fields of a definition that are left out at zero, `false` or the empty text.
pub(super) fn omitted_when_zero(definition: &str) -> &'static [&'static str] {
    match definition {
        "io.k8s.api.apps.v1.DaemonSetSpec" => &["minReadySeconds"],
        "io.k8s.api.apps.v1.DeploymentSpec" => &["minReadySeconds", "paused"],
        "io.k8s.api.apps.v1.DeploymentStatus" => &[
            "availableReplicas",
            "observedGeneration",
            "readyReplicas",
            "replicas",
            "unavailableReplicas",
            "updatedReplicas",
        ],
        "io.k8s.api.apps.v1.ReplicaSetSpec" => &["minReadySeconds"],
        "io.k8s.api.apps.v1.ReplicaSetStatus" => &[
            "availableReplicas",
            "fullyLabeledReplicas",
            "observedGeneration",
            "readyReplicas",
        ],
        "io.k8s.api.apps.v1.StatefulSetSpec" => {
            &["minReadySeconds", "podManagementPolicy", "serviceName"]
        }
        "io.k8s.api.apps.v1.StatefulSetStatus" => &[
            "currentReplicas",
            "currentRevision",
            "observedGeneration",
            "readyReplicas",
            "updateRevision",
            "updatedReplicas",
        ],
        "io.k8s.api.batch.v1.CronJobSpec" => &["concurrencyPolicy"],
        "io.k8s.api.batch.v1.JobStatus" => &["active", "failed", "succeeded"],
        "io.k8s.api.core.v1.CSIPersistentVolumeSource" => &["readOnly"],
        "io.k8s.api.core.v1.Container" => &[
            "image",
            "imagePullPolicy",
            "stdin",
            "stdinOnce",
            "terminationMessagePath",
            "terminationMessagePolicy",
            "tty",
            "workingDir",
        ],
        "io.k8s.api.core.v1.ContainerPort" => &["hostIP", "hostPort", "name", "protocol"],
        "io.k8s.api.core.v1.EmptyDirVolumeSource" => &["medium"],
        "io.k8s.api.core.v1.EndpointAddress" => &["hostname"],
        "io.k8s.api.core.v1.EndpointPort" => &["name", "protocol"],
        "io.k8s.api.core.v1.EnvFromSource" => &["prefix"],
        "io.k8s.api.core.v1.EnvVar" => &["value"],
        "io.k8s.api.core.v1.Event" => &["action", "count", "message", "reason", "type"],
        "io.k8s.api.core.v1.EventSource" => &["component", "host"],
        "io.k8s.api.core.v1.HTTPGetAction" => &["host", "path", "scheme"],
        "io.k8s.api.core.v1.NFSVolumeSource" => &["readOnly"],
        "io.k8s.api.core.v1.NodeSpec" => &["externalID", "podCIDR", "providerID", "unschedulable"],
        "io.k8s.api.core.v1.ObjectReference" => &[
            "apiVersion",
            "fieldPath",
            "kind",
            "name",
            "namespace",
            "resourceVersion",
            "uid",
        ],
        "io.k8s.api.core.v1.PersistentVolumeClaimSpec" => &["volumeName"],
        "io.k8s.api.core.v1.PersistentVolumeClaimVolumeSource" => &["readOnly"],
        "io.k8s.api.core.v1.PersistentVolumeSpec" => {
            &["persistentVolumeReclaimPolicy", "storageClassName"]
        }
        "io.k8s.api.core.v1.PodCondition" => &["message", "observedGeneration", "reason"],
        "io.k8s.api.core.v1.PodSpec" => &[
            "dnsPolicy",
            "hostIPC",
            "hostNetwork",
            "hostPID",
            "hostname",
            "nodeName",
            "priorityClassName",
            "restartPolicy",
            "schedulerName",
            "serviceAccount",
            "serviceAccountName",
            "subdomain",
        ],
        "io.k8s.api.core.v1.PodStatus" => &[
            "hostIP",
            "message",
            "nominatedNodeName",
            "observedGeneration",
            "phase",
            "podIP",
            "qosClass",
            "reason",
        ],
        "io.k8s.api.core.v1.Probe" => &[
            "failureThreshold",
            "initialDelaySeconds",
            "periodSeconds",
            "successThreshold",
            "timeoutSeconds",
        ],
        "io.k8s.api.core.v1.Secret" => &["type"],
        "io.k8s.api.core.v1.ServicePort" => &["name", "nodePort", "protocol"],
        "io.k8s.api.core.v1.ServiceSpec" => &[
            "clusterIP",
            "externalName",
            "externalTrafficPolicy",
            "healthCheckNodePort",
            "loadBalancerIP",
            "publishNotReadyAddresses",
            "sessionAffinity",
            "type",
        ],
        "io.k8s.api.core.v1.Taint" => &["value"],
        "io.k8s.api.core.v1.Toleration" => &["effect", "key", "operator", "value"],
        "io.k8s.api.core.v1.VolumeMount" => &["readOnly", "subPath", "subPathExpr"],
        "io.k8s.api.policy.v1.PodDisruptionBudgetStatus" => &["observedGeneration"],
        "io.k8s.api.rbac.v1.Subject" => &["apiGroup", "namespace"],
        "io.k8s.api.scheduling.v1.PriorityClass" => &["description", "globalDefault"],
        _ => &[],
    }
}

/// All definitions named above.
#[cfg(test)]
pub(super) const NAMES: &[&str] = &[
    "io.k8s.api.admissionregistration.v1.MutatingWebhook",
    "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
    "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
    "io.k8s.api.admissionregistration.v1.ValidatingWebhook",
    "io.k8s.api.apps.v1.ControllerRevision",
    "io.k8s.api.apps.v1.DaemonSet",
    "io.k8s.api.apps.v1.DaemonSetCondition",
    "io.k8s.api.apps.v1.DaemonSetSpec",
    "io.k8s.api.apps.v1.DaemonSetStatus",
    "io.k8s.api.apps.v1.Deployment",
    "io.k8s.api.apps.v1.DeploymentCondition",
    "io.k8s.api.apps.v1.DeploymentSpec",
    "io.k8s.api.apps.v1.DeploymentStatus",
    "io.k8s.api.apps.v1.ReplicaSet",
    "io.k8s.api.apps.v1.ReplicaSetCondition",
    "io.k8s.api.apps.v1.ReplicaSetSpec",
    "io.k8s.api.apps.v1.ReplicaSetStatus",
    "io.k8s.api.apps.v1.StatefulSet",
    "io.k8s.api.apps.v1.StatefulSetCondition",
    "io.k8s.api.apps.v1.StatefulSetSpec",
    "io.k8s.api.apps.v1.StatefulSetStatus",
    "io.k8s.api.batch.v1.CronJob",
    "io.k8s.api.batch.v1.CronJobSpec",
    "io.k8s.api.batch.v1.Job",
    "io.k8s.api.batch.v1.JobCondition",
    "io.k8s.api.batch.v1.JobSpec",
    "io.k8s.api.batch.v1.JobStatus",
    "io.k8s.api.batch.v1.JobTemplateSpec",
    "io.k8s.api.coordination.v1.Lease",
    "io.k8s.api.core.v1.CSIPersistentVolumeSource",
    "io.k8s.api.core.v1.Container",
    "io.k8s.api.core.v1.ContainerPort",
    "io.k8s.api.core.v1.ContainerStateRunning",
    "io.k8s.api.core.v1.ContainerStateTerminated",
    "io.k8s.api.core.v1.ContainerStatus",
    "io.k8s.api.core.v1.DaemonEndpoint",
    "io.k8s.api.core.v1.EmptyDirVolumeSource",
    "io.k8s.api.core.v1.EndpointAddress",
    "io.k8s.api.core.v1.EndpointPort",
    "io.k8s.api.core.v1.EnvFromSource",
    "io.k8s.api.core.v1.EnvVar",
    "io.k8s.api.core.v1.Event",
    "io.k8s.api.core.v1.EventSource",
    "io.k8s.api.core.v1.HTTPGetAction",
    "io.k8s.api.core.v1.LimitRange",
    "io.k8s.api.core.v1.LimitRangeSpec",
    "io.k8s.api.core.v1.NFSVolumeSource",
    "io.k8s.api.core.v1.Namespace",
    "io.k8s.api.core.v1.NamespaceCondition",
    "io.k8s.api.core.v1.Node",
    "io.k8s.api.core.v1.NodeCondition",
    "io.k8s.api.core.v1.NodeDaemonEndpoints",
    "io.k8s.api.core.v1.NodeSpec",
    "io.k8s.api.core.v1.NodeStatus",
    "io.k8s.api.core.v1.NodeSystemInfo",
    "io.k8s.api.core.v1.ObjectReference",
    "io.k8s.api.core.v1.PersistentVolume",
    "io.k8s.api.core.v1.PersistentVolumeClaim",
    "io.k8s.api.core.v1.PersistentVolumeClaimCondition",
    "io.k8s.api.core.v1.PersistentVolumeClaimSpec",
    "io.k8s.api.core.v1.PersistentVolumeClaimVolumeSource",
    "io.k8s.api.core.v1.PersistentVolumeSpec",
    "io.k8s.api.core.v1.Pod",
    "io.k8s.api.core.v1.PodCondition",
    "io.k8s.api.core.v1.PodSpec",
    "io.k8s.api.core.v1.PodStatus",
    "io.k8s.api.core.v1.PodTemplateSpec",
    "io.k8s.api.core.v1.Probe",
    "io.k8s.api.core.v1.ReplicationControllerCondition",
    "io.k8s.api.core.v1.ResourceQuota",
    "io.k8s.api.core.v1.Secret",
    "io.k8s.api.core.v1.Service",
    "io.k8s.api.core.v1.ServicePort",
    "io.k8s.api.core.v1.ServiceSpec",
    "io.k8s.api.core.v1.ServiceStatus",
    "io.k8s.api.core.v1.Taint",
    "io.k8s.api.core.v1.Toleration",
    "io.k8s.api.core.v1.VolumeMount",
    "io.k8s.api.discovery.v1.Endpoint",
    "io.k8s.api.discovery.v1.EndpointSlice",
    "io.k8s.api.events.v1.Event",
    "io.k8s.api.networking.v1.HTTPIngressPath",
    "io.k8s.api.networking.v1.HTTPIngressRuleValue",
    "io.k8s.api.networking.v1.Ingress",
    "io.k8s.api.networking.v1.IngressClass",
    "io.k8s.api.networking.v1.IngressStatus",
    "io.k8s.api.networking.v1.NetworkPolicy",
    "io.k8s.api.networking.v1.NetworkPolicySpec",
    "io.k8s.api.policy.v1.PodDisruptionBudget",
    "io.k8s.api.policy.v1.PodDisruptionBudgetStatus",
    "io.k8s.api.rbac.v1.ClusterRole",
    "io.k8s.api.rbac.v1.ClusterRoleBinding",
    "io.k8s.api.rbac.v1.PolicyRule",
    "io.k8s.api.rbac.v1.Role",
    "io.k8s.api.rbac.v1.RoleBinding",
    "io.k8s.api.rbac.v1.Subject",
    "io.k8s.api.scheduling.v1.PriorityClass",
    "io.k8s.api.storage.v1.CSIDriver",
    "io.k8s.api.storage.v1.CSINode",
    "io.k8s.api.storage.v1.CSINodeSpec",
    "io.k8s.api.storage.v1.StorageClass",
    "io.k8s.api.storage.v1.VolumeAttachment",
    "io.k8s.api.storage.v1.VolumeAttachmentSpec",
    "io.k8s.api.storage.v1.VolumeAttachmentStatus",
    "io.k8s.api.storage.v1.VolumeError",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Condition",
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
];
